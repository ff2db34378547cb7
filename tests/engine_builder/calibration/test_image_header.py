import cv2
import numpy as np
import pytest

from tsnd_builder.calibration.image_header import ImageHeader, read_header

HEADER = ImageHeader(width=65, height=48, has_end=True)


def encode(suffix, *options):
    return cv2.imencode(suffix, np.zeros((48, 65, 3), np.uint8), options)[1].tobytes()


@pytest.fixture
def with_thumbnail():
    """A JPEG that has another, of 8 x 8, among its metadata."""
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    content = encode(".jpg")
    return content[:2] + segment + content[2:]


@pytest.mark.parametrize(
    "content",
    [encode(".jpg"), encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), encode(".png")],
    ids=["jpeg", "progressive", "png"],
)
def test_width_and_height_are_read(content):
    assert read_header(content) == HEADER


def test_a_thumbnail_is_not_the_image(with_thumbnail):
    assert read_header(with_thumbnail) == HEADER


def test_the_end_of_a_thumbnail_is_not_that_of_the_image(with_thumbnail):
    header = read_header(with_thumbnail[:-10])

    assert header == ImageHeader(width=65, height=48, has_end=False)


def test_fill_bytes_before_a_marker_are_skipped():
    content = encode(".jpg")

    assert read_header(content[:2] + b"\xff\xff" + content[2:]) == HEADER


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n"])
def test_what_is_neither_jpeg_nor_png_has_no_header(content):
    assert read_header(content) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_is_cut_short_has_no_header_or_no_end(suffix):
    content = encode(suffix)

    headers = {read_header(content[:length]) for length in range(len(content) - 8)}

    assert headers == {None, ImageHeader(width=65, height=48, has_end=False)}


def test_a_segment_of_length_zero_ends():
    assert read_header(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 3) is None
