"""The tiny models, and snippets for them."""

import numpy as np
import pytest

from tsnd_daemon.backends.choice import choose
from tsnd_daemon.backends.machine import this_machine
from tsnd_daemon.model_store import load_package
from tsnd_daemon.settings import ExecutionOptions
from tsnd_daemon.snippets import Snippet


@pytest.fixture(params=["tiny_rgb", "tiny_flow"])
def model(request, tiny_repository):
    package = load_package(tiny_repository / request.param / "1")
    return choose(package, ExecutionOptions("onnxruntime", "auto", 8), this_machine()).model


@pytest.fixture
def snippets_for(model):
    """Draw snippets for the model."""

    def draw(count):
        rng = np.random.default_rng(7)
        shape = tuple(model.manifest.input.shape)
        return [Snippet(str(i), rng.integers(0, 256, shape, dtype=np.uint8)) for i in range(count)]

    return draw
