from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.executions import run
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor, open_session
from tsnd_daemon.executors.openvino import (
    OpenVinoExecutor,
    compile_model,
    probe_frames,
    reason_against_bf16,
    reason_against_error,
    score_error,
)
from tsnd_daemon.settings import ExecutionOptions

FLOAT32_TOLERANCE = 2e-5  # of the largest value: the same sums in another order
OPTIONS = ExecutionOptions("openvino", "auto", 5, instances=2)
NATIVE_BF16 = frozenset({"avx512f", "avx512_bf16"})


@pytest.fixture
def compiled(model):
    pytest.importorskip("openvino", reason="OpenVINO is not installed: make engines")
    return compile_model(model, OPTIONS, cpus=2, cpu_features=frozenset())


@pytest.fixture
def executor(model, compiled):
    return OpenVinoExecutor(model, compiled, max_batch_size=5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_any_batch_size_gives_what_onnx_runtime_gives(model, executor, size, snippets_for):
    snippets = snippets_for(size)

    found = run(executor, snippets)
    expected = run(OnnxRuntimeExecutor(model, open_session(model), max_batch_size=5), snippets)

    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        tolerance = FLOAT32_TOLERANCE * np.abs(rows).max()
        np.testing.assert_allclose(found[name], rows, rtol=0, atol=tolerance)


def test_results_of_one_batch_survive_the_next(executor, snippets_for):
    first, second = snippets_for(2)

    scores = run(executor, [first])["scores"]
    copy = scores.copy()
    run(executor, [second, second])

    np.testing.assert_array_equal(scores, copy)


def test_two_batches_run_at_a_time_and_keep_apart(executor, snippets_for):
    first, second = snippets_for(8)[:5], snippets_for(8)[5:]
    expected = [run(executor, snippets)["scores"] for snippets in (first, second)]

    executor.start(0, first)
    executor.start(1, second)
    found = [executor.finish(slot)["scores"] for slot in (0, 1)]

    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_batch_that_fails_leaves_its_slot_to_the_next(executor, snippets_for):
    snippet, *_ = snippets_for(1)
    expected = run(executor, [snippet])["scores"]

    with pytest.raises(ValueError, match="broadcast"):
        executor.start(0, [replace(snippet, pixels=np.zeros((1, 2, 3), np.uint8))])

    np.testing.assert_array_equal(run(executor, [snippet])["scores"], expected)


@pytest.mark.usefixtures("compiled")
def test_instances_are_streams(model):
    options = replace(OPTIONS, instances=1)

    one_stream = compile_model(model, options, cpus=2, cpu_features=frozenset())

    assert one_stream.get_property("NUM_STREAMS") == 1


def test_a_graph_that_is_no_onnx_is_refused(model, compiled, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x07garbage")

    with pytest.raises(PackageError, match="OpenVINO cannot load"):
        compile_model(replace(model, path=broken), OPTIONS, cpus=1, cpu_features=frozenset())


def scale_output(graph, name, gain):
    """Multiply an output of an ONNX model."""
    (producer,) = (node for node in graph.graph.node if name in node.output)
    producer.output[list(producer.output).index(name)] = "unscaled"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(gain, np.float32), "gain"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "gain"], [name]))


def reason(*, precision="auto", graph=pb.PRECISION_FP32, features=NATIVE_BF16, offered="BF16"):
    options = ExecutionOptions("openvino", precision, 8)
    return reason_against_bf16(options, pb.Artifact(precision=graph), features, ["FP32", offered])


def test_bf16_is_tried_where_processor_and_openvino_have_it():
    assert reason() is None
    assert reason(features=frozenset({"amx_bf16"})) is None
    assert reason(graph=pb.PRECISION_UNSPECIFIED) is None


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"precision": "fp32"}, "fp32 was asked for"),
        ({"graph": pb.PRECISION_INT8}, "not FP32"),
        ({"features": frozenset({"avx512f", "avx2"})}, "the processor has neither"),
        ({"offered": "INT8"}, "OpenVINO does not offer it"),
    ],
)
def test_bf16_is_not_tried(case, why):
    assert why in reason(**case)


def test_bf16_is_compared_on_the_same_varied_frames_every_time():
    frames = probe_frames((16, 21, 3))

    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, probe_frames((16, 21, 3)))
    assert all(frame.std() > 50 for frame in frames)


@pytest.mark.parametrize("gain", [1.0, 1.004, 1.05, -1.0, np.nan])
def test_the_error_is_measured_on_scores_as_a_share_of_the_largest(model, compiled, gain, tmp_path):
    changed = onnx.load(model.path)
    scale_output(changed, "scores", gain)
    onnx.save(changed, tmp_path / "model.onnx")
    other = replace(model, path=tmp_path / "model.onnx")

    found = compile_model(other, OPTIONS, cpus=1, cpu_features=frozenset())
    error = score_error(found, compiled, probe_frames(tuple(model.manifest.input.shape)))

    expected = abs(gain - 1) if np.isfinite(gain) else np.inf
    assert error == pytest.approx(expected, abs=1e-5)


def test_only_an_error_within_the_bound_is_accepted():
    assert reason_against_error(0.0099) is None
    assert (
        reason_against_error(0.011) == "it is off by 1.1e-02 of the largest score, more than 0.01"
    )
    assert reason_against_error(np.inf) is not None
