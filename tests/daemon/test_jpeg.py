import re
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import simplejpeg

from tsnd.v1 import model_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.jpeg import JpegLayout, JpegPixels

HEIGHT, WIDTH = 32, 44
RGB = JpegLayout(model_pb2.MODALITY_RGB, (HEIGHT, WIDTH, 3))
FLOW = JpegLayout(model_pb2.MODALITY_FLOW, (10, HEIGHT, WIDTH))


def frame(height=HEIGHT, width=WIDTH, channels=3):
    noise = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def compressed(pixels, *options):
    ok, data = cv2.imencode(".jpg", pixels, options)
    assert ok
    return data.tobytes()


def by_opencv(image, how):
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), how)
    assert pixels is not None
    return pixels


def decoded(images, layout=RGB):
    row = np.zeros(layout.shape, np.uint8)
    with ThreadPoolExecutor(1) as pool:
        pixels = JpegPixels("s", images, layout, pool)
        pixels.begin(row)
        pixels.finish()
    if pixels.error is not None:
        raise pixels.error
    return row


@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_QUALITY, 100),
        (cv2.IMWRITE_JPEG_QUALITY, 5),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    ],
)
def test_a_frame_is_decoded_to_what_opencv_reads(options):
    image = compressed(frame(), *options)

    expected = by_opencv(image, cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded([image]), expected)


def test_a_grey_frame_has_three_equal_channels():
    image = compressed(frame(channels=1))

    grey = by_opencv(image, cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(decoded([image]), np.stack([grey] * 3, axis=-1))


def test_flow_planes_come_in_the_order_of_the_images():
    images = [compressed(np.full((HEIGHT, WIDTH), 20 * i + 9, np.uint8)) for i in range(10)]

    expected = [by_opencv(i, cv2.IMREAD_GRAYSCALE) for i in images]
    np.testing.assert_array_equal(decoded(images, FLOW), expected)


def test_a_mosaic_has_x_above_y_and_fields_from_left_to_right():
    planes = np.arange(10, dtype=np.uint8)[:, None, None] * 25 + np.zeros(
        (10, HEIGHT, WIDTH), np.uint8
    )
    mosaic = np.vstack([np.hstack(list(planes[0::2])), np.hstack(list(planes[1::2]))])
    image = compressed(mosaic, cv2.IMWRITE_JPEG_QUALITY, 100)

    found = decoded([image], FLOW)

    assert np.abs(found.astype(int) - planes).max() <= 40  # where blocks cross borders
    middles = found[:, HEIGHT // 2, WIDTH // 2].astype(int)
    assert np.abs(middles - planes[:, 0, 0]).max() <= 2


def test_flow_in_colour_is_read_as_opencv_reads_it_in_grey():
    image = compressed(frame(2 * HEIGHT, 5 * WIDTH))

    grey = by_opencv(image, cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(decoded([image], FLOW)[0], grey[:HEIGHT, :WIDTH])
    np.testing.assert_array_equal(decoded([image], FLOW)[9], grey[HEIGHT:, 4 * WIDTH :])


@pytest.mark.parametrize(
    ("images", "layout", "reason"),
    [
        ([], RGB, "has 0 JPEG images, expected 1."),
        ([compressed(frame())] * 2, RGB, "has 2 JPEG images, expected 1."),
        ([compressed(frame())] * 9, FLOW, "has 9 JPEG images, expected 10, one for each plane"),
        ([b""], RGB, "no JPEG image"),
        ([b"\x89PNG\r\n" + bytes(50)], RGB, "no JPEG image"),
        ([compressed(frame())[:20]], RGB, "no JPEG image"),
        ([compressed(frame(WIDTH, HEIGHT))], RGB, "of 32x44 pixels, expected 44x32"),
        ([compressed(frame())], FLOW, "of 44x32 pixels, expected 220x64"),
        ([compressed(frame()) + bytes(100_000)], RGB, "at most 73984 are allowed for 44x32"),
        ([compressed(frame()) + b"\xff\xda" * 99], RGB, "scans, at most 64 are allowed"),
        (
            [simplejpeg.encode_jpeg(np.zeros((32, 44, 4), np.uint8), colorspace="CMYK")],
            RGB,
            "expected colour or grey",
        ),
    ],
)  # fmt: skip
def test_what_is_no_such_image_is_refused_before_it_is_decoded(images, layout, reason):
    with pytest.raises(InvalidSnippet, match=re.escape(reason)):
        JpegPixels("s", images, layout, ThreadPoolExecutor(1))


def test_an_image_that_says_it_is_huge_is_refused_without_memory_for_it():
    image = bytearray(compressed(frame()))
    at = image.index(b"\xff\xc0")
    image[at + 5 : at + 9] = b"\xfe\x00\xfe\x00"

    with pytest.raises(InvalidSnippet, match="65024x65024 pixels"):
        JpegPixels("s", [bytes(image)], RGB, ThreadPoolExecutor(1))


def test_an_image_that_is_cut_off_is_an_error_of_its_snippet():
    image = compressed(frame())

    with pytest.raises(InvalidSnippet, match="cannot be decoded"):
        decoded([image[:-150]])


def test_decoding_is_done_in_the_pool_while_others_run():
    size = 16 * 100
    layout = JpegLayout(model_pb2.MODALITY_RGB, (size, size, 3))
    image = compressed(frame(size, size), cv2.IMWRITE_JPEG_QUALITY, 100)
    row, ran_meanwhile = np.zeros(layout.shape, np.uint8), threading.Event()

    with ThreadPoolExecutor(1) as pool:
        pixels = JpegPixels("s", [image], layout, pool)
        pixels.begin(row)
        assert pixels._decoding is not None
        while not pixels._decoding.done():  # needs Python's lock, which decoding must not hold
            ran_meanwhile.set()
        pixels.finish()

    assert ran_meanwhile.is_set()
    assert pixels.error is None


def test_at_the_highest_quality_pixels_are_within_the_rounding_of_the_colour_space():
    pixels = frame()
    image = compressed(
        pixels,
        cv2.IMWRITE_JPEG_QUALITY,
        100,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )

    assert np.abs(decoded([image]).astype(int) - pixels).max() <= 3
