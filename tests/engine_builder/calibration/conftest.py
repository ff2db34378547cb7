from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from tests.builders import random_bytes


@pytest.fixture
def write_video(tmp_path):
    """Write a small video without loss: write_video(frames, name) with frames uint8 BGR."""

    def write(frames, name="video.mkv", codec="ffv1", pixel_format="bgr0"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pixel_format
            for index, pixels in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def make_video(write_video):
    """Write a video of grey frames: every pixel of frame i is 6 * i + offset."""

    def make(frames=40, name="video.mkv", offset=0):
        return write_video(grey_frames(frames, offset), name)

    return make


@pytest.fixture
def make_images(tmp_path):
    """Write a folder of images from their names: image i is grey, about 6 * i + offset."""

    def make(folder, names, offset=0, size=(48, 64)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(names):
            pixels = np.full((*size, 3), 6 * index + offset, np.uint8)
            encoded = cv2.imencode((tmp_path / name).suffix, pixels)[1]
            (tmp_path / folder / name).write_bytes(encoded.tobytes())
        return tmp_path / folder

    return make


@pytest.fixture
def texture():
    """A smooth random image, grey, uint8 [96, 128]: flow between its cut-outs is well defined."""
    blurred = np.asarray(cv2.GaussianBlur(random_bytes(7, 96, 128).astype(np.float32), (0, 0), 3))
    return (255 * (blurred - blurred.min()) / np.ptp(blurred)).astype(np.uint8)


def grey_frames(number, offset=0, size=(48, 64)):
    return [np.full((*size, 3), 6 * index + offset, np.uint8) for index in range(number)]
