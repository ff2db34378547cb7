import io
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.client.sources.videos import picture_of
from tsnd_client.errors import InputError, VideoError
from tsnd_client.images import decode_jpeg, encode_jpeg
from tsnd_client.sources.open import open_source
from tsnd_client.sources.pipe import PipeSource, RawLayout, parse_layout


def pipe_of(content):
    return io.BufferedReader(io.BytesIO(content))


def test_raw_pixels_come_as_they_are():
    content = b"".join(picture_of(index).tobytes() for index in range(4))
    source = open_source("pipe:64x48@10", stdin=pipe_of(content))

    frames = list(source.frames())

    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == [0, 0.1, 0.2, 0.3]
    for frame in frames:
        np.testing.assert_array_equal(frame.bgr, picture_of(frame.index))
    assert not source.is_live


@pytest.mark.parametrize("pixel_format", ["rgb24", "gray", "yuv420p", "nv12"])
def test_raw_pixels_of_other_formats_are_turned_into_bgr(pixel_format):
    picture = av.VideoFrame.from_ndarray(picture_of(1), format="bgr24")
    pixels = picture.reformat(format=pixel_format).to_ndarray()

    (frame,) = open_source(f"pipe:64x48,{pixel_format}", stdin=pipe_of(pixels.tobytes())).frames()

    inside = slice(8, None, 16), slice(8, None, 16)  # chroma is spread at edges
    kept = picture.reformat(format="gray" if pixel_format == "gray" else "bgr24")
    expected = np.asarray(kept.reformat(format="bgr24").to_ndarray(), np.int16)
    assert np.abs(frame.bgr[inside] - expected[inside]).max() < 6


def test_jpegs_come_decoded():
    jpegs = [encode_jpeg(picture_of(index)) for index in range(4)]

    frames = list(open_source("-", stdin=pipe_of(b"".join(jpegs))).frames(stride=2))

    assert [frame.index for frame in frames] == [0, 2]
    np.testing.assert_array_equal(frames[1].bgr, decode_jpeg(jpegs[2], "the third"))


def test_a_jpeg_that_is_broken_is_left_out_and_counted():
    jpegs = [bytearray(encode_jpeg(picture_of(index))) for index in range(3)]
    header = jpegs[1].index(b"\xff\xc0")
    jpegs[1][header + 5 : header + 9] = b"\xff\xff\xff\xff"  # claims to be huge
    source = PipeSource(pipe_of(b"".join(jpegs)))

    assert [frame.index for frame in source.frames()] == [0, 2]
    assert source.counters.broken == 1
    assert "65535 x 65535" in str(source.counters.first_reason)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pipe:64x48", picture_of(0).tobytes() + b"part"),
        ("pipe:", encode_jpeg(picture_of(0)) + encode_jpeg(picture_of(1))[:99]),
    ],
)
def test_a_last_frame_that_is_not_whole_is_counted(name, content):
    source = open_source(name, stdin=pipe_of(content))

    assert len(list(source.frames())) == 1
    assert source.counters.first_reason == "the last frame is not whole"


@pytest.mark.parametrize("name", ["-", "pipe:64x48"])
def test_a_pipe_without_a_frame_is_an_error(name):
    with pytest.raises(VideoError, match="ended before its first frame"):
        list(open_source(name, stdin=pipe_of(b"")).frames())


def test_a_frame_comes_as_soon_as_its_last_byte_is_there():
    reading, writing = os.pipe()
    jpeg = encode_jpeg(picture_of(0))
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as sender:
        frames = PipeSource(pipe).frames()
        for index in range(3):
            sender.write(jpeg)
            assert next(frames).index == index


def test_closing_ends_the_frames():
    with PipeSource(pipe_of(picture_of(0).tobytes() * 9), RawLayout(64, 48)) as source:
        frames = source.frames()
        next(frames)
        source.close()
        assert list(frames) == []


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("640x480", RawLayout(640, 480, "bgr24", 25.0)),
        ("640x480@29.97", RawLayout(640, 480, "bgr24", 29.97)),
        ("640x480,nv12@30", RawLayout(640, 480, "nv12", 30.0)),
    ],
)
def test_a_layout_is_read(text, layout):
    assert parse_layout(text) == layout


@pytest.mark.parametrize(
    "text", ["640", "0x480", "640x480@0", "640x480@.", "640x480,yuyv", "-1x5", "640x480@1.2.3", "x"]
)
def test_a_layout_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="does not describe raw frames: expected pipe:WIDTH"):
        parse_layout(text)


def test_a_huge_layout_is_refused():
    with pytest.raises(VideoError, match="100000 x 100000 pixels, at most"):
        parse_layout("100000x100000")


def test_an_odd_size_needs_a_format_that_can_have_it():
    assert parse_layout("65x49").frame_bytes == 65 * 49 * 3
    with pytest.raises(InputError, match="odd size, which yuv420p cannot have"):
        parse_layout("65x49,yuv420p")


def test_the_standard_input_is_read():
    code = (
        "from tsnd_client.sources.open import open_source\n"
        "print([frame.bgr.shape for frame in open_source('-').frames()])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        input=encode_jpeg(picture_of(0)) * 2,
        capture_output=True,
        check=True,
    )

    assert done.stdout.decode().strip() == "[(48, 64, 3), (48, 64, 3)]"
