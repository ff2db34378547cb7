"""The executor on a real GPU with real engines: `make gpu-check`."""

import shutil
from functools import partial

import numpy as np
import pytest

from tests.daemon.executors.tensorrt.conftest import serving_model
from tsnd.v1 import model_pb2 as pb
from tsnd_builder import commands
from tsnd_builder.artifacts import Precision
from tsnd_builder.plans.build import availability
from tsnd_builder.plans.gpu import find_gpu
from tsnd_builder.plans.options import Backend, PlanOptions, Profile
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.executors.base import ExecutorThread
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor, open_session
from tsnd_daemon.executors.tensorrt.device import primary_context, start_driver
from tsnd_daemon.executors.tensorrt.executor import TensorRtExecutor
from tsnd_daemon.model_store import Model, load_package

pytestmark = pytest.mark.gpu

TOLERANCE = 2e-4  # of the largest value: what `tsn-build verify` allows FP32
PROFILES = (Profile(1, 4, 4), Profile(5, 8, 8))


@pytest.fixture(scope="module", params=list(Backend))
def planned(request, tiny_repository, tmp_path_factory):
    """Copies of the packages with FP32 plans of one library."""
    if find_gpu() is None:
        pytest.skip("needs an NVIDIA GPU")
    if problem := availability(request.param):
        pytest.skip(problem)
    repository = tmp_path_factory.mktemp(f"planned-{request.param}") / "models"
    shutil.copytree(tiny_repository, repository)
    options = PlanOptions(request.param, PROFILES)
    for folder in sorted(repository.glob("*/1")):
        commands.plan(folder, [Precision.FP32], options, report=lambda line: None)
    return repository


@pytest.fixture
def folder(planned, model):
    return planned / model.manifest.name / "1"


@pytest.fixture
def make(folder):
    """Make executors of the model's plan."""
    manifest = load_package(folder).manifest
    plan = next(a for a in manifest.artifacts if a.kind == pb.ARTIFACT_KIND_PLAN)
    model = Model(manifest, plan, folder / plan.file, Backend(plan.plan.backend).value)
    return partial(TensorRtExecutor, model, max_batch_size=8, device=0)


@pytest.fixture
def reference(folder):
    model = serving_model(folder)
    executor = OnnxRuntimeExecutor(model, open_session(model, threads=1), max_batch_size=8)

    def run(snippets):
        executor.start(0, snippets)
        return executor.finish(0)

    return run


def assert_close(results, expected):
    for name, rows in expected.items():
        np.testing.assert_allclose(
            results[name], rows, rtol=0, atol=TOLERANCE * float(np.abs(rows).max())
        )


async def test_batches_of_two_executors_give_what_onnxruntime_gives(make, reference, snippets_for):
    threads = [ExecutorThread(f"gpu-{number}") for number in range(2)]
    for thread in threads:
        await thread.start(partial(make, slots=2))
    batches = [snippets_for(1 + seed % 8, seed) for seed in range(64)]

    futures = [threads[i % 2].submit(snippets) for i, snippets in enumerate(batches)]
    executions = [await future for future in futures]
    for thread in threads:
        await thread.close()

    assert [thread.slots for thread in threads] == [2, 2]
    for execution, snippets in zip(executions, batches, strict=True):
        assert_close(execution.outputs, reference(snippets))


def test_batches_in_flight_do_not_mix(make, reference, snippets_for):
    executor = make(slots=2)
    first, second, third = (snippets_for(count, seed=count) for count in (3, 8, 5))

    executor.start(0, first)
    executor.start(1, second)
    assert_close(executor.finish(0), reference(first))
    executor.start(0, third)
    assert_close(executor.finish(1), reference(second))
    assert_close(executor.finish(0), reference(third))
    executor.close()


def test_what_it_holds_is_freed(make, snippets_for):
    cuda = start_driver()
    with primary_context(cuda, 0):
        _run_once(make, snippets_for(4))  # what CUDA and TensorRT keep for good
        before = cuda.mem_get_info()[0]
        for _ in range(3):
            _run_once(make, snippets_for(4))

        assert cuda.mem_get_info()[0] >= before


def test_a_batch_size_beyond_the_plans_profiles_is_refused(make):
    with pytest.raises(SettingsError, match=r"1-4\(4\), 5-8\(8\)"):
        make(slots=1, max_batch_size=9)


def _run_once(make, snippets):
    executor = make(slots=2)
    executor.start(0, snippets)
    executor.finish(0)
    executor.close()
