"""ONNX Runtime's way to a GPU, on the CPU where there is none: the same bindings and buffers."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from tests.executions import run
from tsnd_daemon.errors import ExecutorLost, SettingsError
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor, open_session
from tsnd_daemon.executors.onnxruntime_gpu import (
    PROVIDERS,
    OnnxRuntimeGpuExecutor,
    buffer_sizes,
    check_available,
    check_started,
    open_gpu_session,
    provider_for,
)

BATCH_TOLERANCE = 1e-6  # float32 sums may be ordered differently in another batch size


@pytest.fixture
def session(model):
    return open_session(model, threads=1)


@pytest.fixture
def executor(model, session):
    return OnnxRuntimeGpuExecutor(model, session, max_batch_size=6, slots=2, device_type="cpu")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_any_batch_size_gives_what_the_graph_gives(model, session, executor, snippets_for, size):
    snippets = snippets_for(size)
    run(executor, snippets_for(6))  # leaves its rows in the buffers

    found = run(executor, snippets)
    expected = run(OnnxRuntimeExecutor(model, session, max_batch_size=6), snippets)

    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        np.testing.assert_allclose(found[name], rows, rtol=0, atol=BATCH_TOLERANCE)


def test_batches_in_different_slots_keep_apart(executor, snippets_for):
    first, second = snippets_for(2)
    expected = [run(executor, [snippet])["scores"] for snippet in (first, second)]

    executor.start(0, [first])
    executor.start(1, [second])
    found = [executor.finish(slot)["scores"] for slot in (0, 1)]

    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(*found)


def test_results_of_one_batch_survive_the_next(executor, snippets_for):
    first, second = snippets_for(2)

    scores = run(executor, [first])["scores"]
    copy = scores.copy()
    run(executor, [second])

    np.testing.assert_array_equal(scores, copy)


class Failing:
    """A session of which every run fails."""

    def __init__(self, session, message):
        self._message = message
        self.io_binding = session.io_binding

    def run_with_iobinding(self, _binding):
        raise RuntimeError(self._message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", ExecutorLost),
        ("CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0", ExecutorLost),
        ("CUDA failure 2: out of memory ; GPU=0", RuntimeError),
        ("Failed to allocate memory for requested buffer of size 1", RuntimeError),
    ],
)
def test_after_an_error_of_cuda_the_executor_is_lost(model, session, snippets_for, message, error):
    failing = Failing(session, message)
    executor = OnnxRuntimeGpuExecutor(model, failing, max_batch_size=6, slots=1, device_type="cpu")

    with pytest.raises(error, match=message[:20]):
        run(executor, snippets_for(1))


def test_device_buffers_are_at_most_twice_a_batch():
    assert buffer_sizes(1) == [1]
    assert buffer_sizes(8) == [1, 2, 4, 8]
    assert buffer_sizes(20) == [1, 2, 4, 8, 16, 20]


def test_cuda_keeps_fp32_and_does_not_time_algorithms_for_every_batch_size(model):
    provider = provider_for(replace(model, backend="cuda"), device=1, max_batch_size=8)

    assert provider.name == "CUDAExecutionProvider"
    assert provider.options == {
        "device_id": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }


def test_tensorrt_rtx_gets_one_profile_for_all_batch_sizes(model):
    provider = provider_for(replace(model, backend="nv-tensorrt-rtx"), device=0, max_batch_size=8)

    row = "x".join(map(str, model.manifest.input.shape))
    assert provider.name == "NvTensorRTRTXExecutionProvider"
    assert provider.options["nv_profile_min_shapes"] == f"snippets:1x{row}"
    assert provider.options["nv_profile_max_shapes"] == f"snippets:8x{row}"


@pytest.mark.parametrize(
    ("backend", "provider"),
    [("cuda", "CUDAExecutionProvider"), ("nv-tensorrt-rtx", "NvTensorRTRTXExecutionProvider")],
)
def test_a_provider_that_is_not_installed_is_refused_with_the_remedy(backend, provider):
    with pytest.raises(SettingsError, match=f"and not {provider}.*Install a build that has it"):
        check_available(backend, ["CPUExecutionProvider"])

    check_available(backend, [provider, "CPUExecutionProvider"])


def test_a_session_that_fell_back_to_the_cpu_is_refused():
    with pytest.raises(SettingsError, match="could not start CUDAExecutionProvider on GPU 1"):
        check_started("cuda", 1, ["CPUExecutionProvider"])

    check_started("cuda", 1, ["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_without_the_provider_no_session_is_opened(model):
    if "NvTensorRTRTXExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")

    with pytest.raises(SettingsError, match="take another --backend"):
        open_gpu_session(replace(model, backend="nv-tensorrt-rtx"), device=0, max_batch_size=1)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", PROVIDERS)
def test_a_gpu_gives_what_the_cpu_gives(model, session, snippets_for, backend):
    if PROVIDERS[backend] not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {PROVIDERS[backend]}")
    on_gpu = open_gpu_session(replace(model, backend=backend), device=0, max_batch_size=6)
    executor = OnnxRuntimeGpuExecutor(model, on_gpu, max_batch_size=6, slots=2)

    for size in (6, 1, 3):
        snippets = snippets_for(size)
        found = run(executor, snippets)["scores"]
        expected = run(OnnxRuntimeExecutor(model, session, max_batch_size=6), snippets)["scores"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())
