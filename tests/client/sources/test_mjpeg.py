import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.sources.videos import picture_of
from tsnd_client.images import encode_jpeg
from tsnd_client.sources.mjpeg import JpegSplitter

JPEGS = [encode_jpeg(picture_of(index)) for index in range(4)]


def with_thumbnail(jpeg):
    """Put a whole JPEG into a comment segment, as cameras do with thumbnails."""
    segment = b"\xff\xe1" + (len(JPEGS[0]) + 2).to_bytes(2) + JPEGS[0]
    return jpeg[:2] + segment + jpeg[2:]


def split(stream, sizes=(1 << 20,)):
    splitter, place, turn = JpegSplitter(), 0, 0
    found: list[bytes] = []
    while place < len(stream):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(stream[place : place + size])
        place, turn = place + size, turn + 1
    return found, splitter


@given(st.lists(st.integers(1, 900), min_size=1, max_size=20))
def test_jpegs_are_found_however_the_bytes_come(sizes):
    found, splitter = split(b"".join(JPEGS), sizes)

    assert found == JPEGS
    assert splitter.skipped == 0
    assert not splitter.has_rest


def test_a_byte_at_a_time_gives_the_same():
    assert split(b"".join(JPEGS[:2]), [1])[0] == JPEGS[:2]


def test_the_end_of_a_thumbnail_is_not_the_end():
    jpeg = with_thumbnail(JPEGS[1])

    assert split(jpeg + JPEGS[2], [7])[0] == [jpeg, JPEGS[2]]


@pytest.mark.parametrize(
    "flags", [[cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]]
)
def test_several_scans_and_restart_markers_belong_to_one_jpeg(flags):
    jpeg = cv2.imencode(".jpg", picture_of(1), flags)[1].tobytes()

    assert split(jpeg + JPEGS[0], [11])[0] == [jpeg, JPEGS[0]]


def test_what_is_between_jpegs_is_left_out_and_counted():
    boundary = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n"

    found, splitter = split(boundary + JPEGS[0] + boundary + JPEGS[1])

    assert found == JPEGS[:2]
    assert splitter.skipped == 2


def test_a_jpeg_that_breaks_off_is_left_out():
    found, splitter = split(JPEGS[0][:300] + JPEGS[1] + JPEGS[2], [100])

    assert found[-1] == JPEGS[2]
    assert not splitter.has_rest


def test_an_unfinished_jpeg_at_the_end_is_known_of():
    found, splitter = split(JPEGS[0] + JPEGS[1][:200])

    assert found == JPEGS[:1]
    assert splitter.has_rest


@given(st.binary(max_size=2000))
def test_no_bytes_are_too_strange(noise):
    found, _ = split(noise + b"\0\0" + JPEGS[3] + JPEGS[3], [64])

    assert JPEGS[3] in found or noise.count(b"\xff\xd8\xff")


def test_a_jpeg_without_an_end_does_not_fill_the_memory():
    splitter = JpegSplitter(max_bytes=10_000)
    head = JPEGS[0][:-2]

    for data in [head, *[bytes(1000)] * 100]:
        assert list(splitter.feed(data)) == []
    found = list(splitter.feed(JPEGS[1]))

    assert found == [JPEGS[1]]
    assert len(splitter._kept) < 10_000


def test_each_jpeg_can_be_decoded():
    for jpeg in split(b"".join(JPEGS))[0]:
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
