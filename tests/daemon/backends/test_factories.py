from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.builders import random_bytes
from tests.executions import run
from tsnd_daemon.backends.choice import choose
from tsnd_daemon.backends.factories import executor_factories
from tsnd_daemon.backends.machine import this_machine
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.executors.tensorrt.executor import TensorRtExecutor
from tsnd_daemon.model_store import load_package
from tsnd_daemon.settings import ExecutionOptions
from tsnd_daemon.snippets import Snippet

OPTIONS = ExecutionOptions("synthetic", "auto", 4)
MACHINE = replace(this_machine(), cpus=2)


@pytest.fixture(scope="module")
def model(tiny_repository):
    return choose(load_package(tiny_repository / "tiny_rgb" / "1"), OPTIONS, MACHINE).model


@pytest.mark.parametrize(
    ("backend", "instances", "executors"),
    [("synthetic", 2, 1), ("openvino", 2, 1), ("onnxruntime", 1, 1), ("onnxruntime", 3, 3)],
)
def test_every_factory_makes_an_executor_of_its_own_that_scores(
    model, backend, instances, executors
):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed: make engines")
    frames = random_bytes(9, 3, *model.manifest.input.shape)
    snippets = [Snippet(str(i), frame) for i, frame in enumerate(frames)]

    factories = executor_factories(
        replace(model, backend=backend), replace(OPTIONS, instances=instances), MACHINE
    )
    made = [factory() for factory in factories]
    results = [run(executor, snippets)["scores"] for executor in made]

    assert len(set(map(id, made))) == executors
    assert results[0].shape == (3, len(model.manifest.labels))
    for scores in results:
        np.testing.assert_array_equal(scores, results[0])
    for executor in made:
        executor.close()


@pytest.mark.parametrize(("instances", "executors"), [(0, 2), (3, 6)])
def test_plans_have_an_executor_for_each_device_and_instance(model, instances, executors):
    options = replace(OPTIONS, devices=(0, 2), instances=instances, slots=3)

    factories = executor_factories(replace(model, backend="tensorrt"), options, MACHINE)

    parts = [factory for factory in factories if isinstance(factory, partial)]
    assert [part.func for part in parts] == [TensorRtExecutor] * executors
    assert sorted({part.keywords["device"] for part in parts}) == [0, 2]
    assert {part.keywords["slots"] for part in parts} == {3}


def test_a_provider_that_is_missing_ends_the_loading(model):
    if "CUDAExecutionProvider" in MACHINE.providers:
        pytest.skip("this ONNX Runtime has the provider")

    with pytest.raises(SettingsError, match="and not CUDAExecutionProvider"):
        executor_factories(replace(model, backend="cuda"), OPTIONS, MACHINE)


def test_auto_is_to_be_resolved_before(model):
    with pytest.raises(ValueError, match="choose"):
        executor_factories(replace(model, backend="auto"), OPTIONS, MACHINE)
