"""The tiny models, and snippets for them."""

import numpy as np
import pytest

from tsnd_daemon.model_store import load_models
from tsnd_daemon.snippets import Snippet


@pytest.fixture(params=["tiny_rgb", "tiny_flow"])
def model(request, tiny_repository):
    return load_models(tiny_repository)[request.param]


@pytest.fixture
def snippets_for(model):
    """Draw snippets for the model."""

    def draw(count):
        rng = np.random.default_rng(7)
        shape = tuple(model.manifest.input.shape)
        return [Snippet(str(i), rng.integers(0, 256, shape, dtype=np.uint8)) for i in range(count)]

    return draw
