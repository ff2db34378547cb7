from fractions import Fraction

import av
import numpy as np
import pytest

from tests.builders import write_tiny_caffe_model


@pytest.fixture
def clip(tmp_path):
    """Write videos of a texture that moves: clip(frames, name) gives the path."""

    def make(frames=40, name="clip.mp4", size=(48, 64), seed=0, folder=None):
        height, width = size
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        path = (folder or tmp_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.bit_rate = 2_000_000
            for index in range(frames):
                moved = np.roll(texture, (index // 2, index), (0, 1))
                picture = av.VideoFrame.from_ndarray(moved, format="bgr24")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture(scope="session")
def tiny_caffe_files(tmp_path_factory):
    """The Caffe files of the models in `tiny_repository`, by modality."""
    return {
        modality: write_tiny_caffe_model(tmp_path_factory.mktemp(modality), channels=channels)[:2]
        for modality, channels in (("rgb", 3), ("flow", 10))
    }
