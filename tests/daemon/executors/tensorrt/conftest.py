"""Models, engines and a driver for the executor.

Tests that use `driver` run on any libcuda with late_driver.c before it, as `make test-cuda`
starts them; elsewhere they are skipped, because the other tests rely on there being none.
"""

import functools
from pathlib import Path

import numpy as np
import pytest

from tests.late_driver import find_late_driver
from tests.stand_in_engine import alive, stand_in_loader
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.executors.tensorrt.executor import TensorRtExecutor
from tsnd_daemon.model_store import Model, load_package
from tsnd_daemon.snippets import Snippet

NOTHING = dict.fromkeys(("device memory", "pinned memory", "streams", "events", "contexts"), 0)


def serving_model(folder: Path) -> Model:
    """The FP32 graph of a package, as it is given to an executor."""
    package = load_package(folder)
    artifact = next(
        a for a in package.manifest.artifacts if a.kind == pb.ARTIFACT_KIND_SERVING_ONNX
    )
    return Model(package.manifest, artifact, folder / artifact.file, "onnxruntime")


@pytest.fixture(params=["tiny_rgb", "tiny_flow"])
def model(request, tiny_repository):
    return serving_model(tiny_repository / request.param / "1")


@pytest.fixture
def snippets_for(model):
    """Draw snippets for the model; other seeds, other snippets."""

    def draw(count, seed=7):
        rng = np.random.default_rng(seed)
        shape = tuple(model.manifest.input.shape)
        return [Snippet(str(i), rng.integers(0, 256, shape, dtype=np.uint8)) for i in range(count)]

    return draw


@pytest.fixture
def driver():
    """The driver's layer; when the test ends, nothing may be held."""
    found = find_late_driver()
    if found is None:
        pytest.skip("needs a libcuda in a process of its own: make test-cuda")
    found.reset()
    yield found
    errors = list(found.errors)
    found.reset()
    assert errors == []
    assert found.held() == NOTHING
    assert not alive


@pytest.fixture
def make(driver, model):
    """Make executors of the model; they are closed at the end."""
    made = []

    def make(*, max_batch_size=4, device=0, slots=2, **engine):
        executor = TensorRtExecutor(
            model,
            max_batch_size=max_batch_size,
            device=device,
            slots=slots,
            load_engine=stand_in_loader(driver, **engine),
        )
        made.append(executor)
        return executor

    yield make
    while made:
        made.pop().close()


@pytest.fixture
def load(driver):
    """A loader of stand-in engines."""
    return functools.partial(stand_in_loader, driver)
