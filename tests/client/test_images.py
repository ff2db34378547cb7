import cv2
import numpy as np
import pytest

from tsnd_client.errors import VideoError
from tsnd_client.images import decode_jpeg, encode_jpeg, resize_bgr, to_grey


def a_scene(height=48, width=64):
    """A smooth picture, so that JPEG changes little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2, y * 3, x + y], axis=-1).astype(np.uint8)


def test_resizing_is_bilinear():
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 1] = 100

    resized = resize_bgr(pixels, width=4, height=1)

    assert resized.dtype == np.uint8
    assert resized[0, :, 0].tolist() == [0, 25, 75, 100]


def test_resizing_gives_height_then_width():
    assert resize_bgr(np.zeros((48, 64, 3), np.uint8), width=340, height=256).shape == (256, 340, 3)


def test_a_frame_of_the_right_size_is_left_alone():
    pixels = np.zeros((48, 64, 3), np.uint8)

    assert resize_bgr(pixels, width=64, height=48) is pixels


def test_grey_weighs_green_most():
    blue, green, red = (to_grey(np.full((1, 1, 3), np.eye(3)[i] * 255, np.uint8)) for i in range(3))

    assert (blue.item(), green.item(), red.item()) == (29, 150, 76)


def test_jpeg_keeps_an_image_nearly_as_it_is():
    scene = a_scene()

    back = decode_jpeg(encode_jpeg(scene), "a.jpg")

    assert np.abs(back.astype(int) - scene).mean() < 2


def test_a_plane_comes_back_as_a_plane():
    assert decode_jpeg(encode_jpeg(a_scene()[..., 0]), "a.jpg", grey=True).shape == (48, 64)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8"])
def test_what_is_no_jpeg_is_refused(content):
    with pytest.raises(VideoError, match=r"a\.jpg is not a JPEG"):
        decode_jpeg(content, "a.jpg")


def test_a_jpeg_cut_anywhere_is_refused():
    whole = encode_jpeg(a_scene())

    for length in range(3, len(whole) - 2, 7):
        with pytest.raises(VideoError, match="damaged or cut short"):
            decode_jpeg(whole[:length], "a.jpg")


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    content = bytearray(encode_jpeg(a_scene()))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"

    with pytest.raises(VideoError, match="65535 x 65535 pixels, at most 67108864"):
        decode_jpeg(bytes(content), "a.jpg")


def test_a_progressive_jpeg_is_read():
    _, coded = cv2.imencode(".jpg", a_scene(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])

    assert decode_jpeg(coded.tobytes(), "a.jpg").shape == (48, 64, 3)


def test_an_image_too_long_for_jpeg_is_refused():
    with pytest.raises(VideoError, match="too long for JPEG"):
        encode_jpeg(np.zeros((1, 65501), np.uint8))
