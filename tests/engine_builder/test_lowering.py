import numpy as np
import onnx
import pytest

from tests.builders import delicate_blobs, graph_of, random_bytes, tiny_blobs, tiny_net
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import CalibrationError, OutOfTolerance
from tsnd_builder.lowering import (
    FP16_MAX_ERROR,
    INT8_MAX_DROP,
    Calibration,
    accuracy_lines,
    make_half,
    make_int8,
)
from tsnd_builder.precision.accuracy import Accuracy, LayerNoise
from tsnd_builder.precision.float_islands import BEHIND_NETWORK, OUT_OF_RANGE
from tsnd_builder.precision.int8 import Calibrator, Int8Options
from tsnd_builder.serving_graph import Modality, build_serving_model, find_heads, serving_spec


@pytest.fixture
def serve(tmp_path):
    """Make the serving graph of the tiny net with some weights."""

    def make(blobs, *, modality=Modality.RGB):
        channels = 3 if modality is Modality.RGB else 10
        graph = graph_of(tmp_path, tiny_net(channels=channels), blobs)
        spec = serving_spec(graph, modality, crops_per_snippet=1)
        return build_serving_model(graph, spec, find_heads(graph))

    return make


@pytest.fixture
def frames():
    """Eight frames, dark and bright in turn by pairs, with some noise."""
    levels = np.array([20, 20, 200, 200] * 2, np.uint8).reshape(-1, 1, 1, 1)
    return levels + random_bytes(1, 8, 16, 21, 3) // 12


def quiet(_line):
    """Report to nobody."""


def described(artifacts):
    return [(a.description.kind, a.description.precision, a.stem, a.suffix) for a in artifacts]


@pytest.mark.parametrize("modality", list(Modality))
def test_an_fp16_graph_says_which_nodes_are_fp32_and_why(serve, modality):
    channels = 3 if modality is Modality.RGB else 10

    made = make_half(serve(tiny_blobs(channels=channels), modality=modality), modality)

    serving = pb.ARTIFACT_KIND_SERVING_ONNX
    assert described([made]) == [(serving, pb.PRECISION_FP16, "model-fp16", ".onnx")]
    assert {node.reason for node in made.description.float_nodes} == {BEHIND_NETWORK}
    onnx.checker.check_model(onnx.load_from_string(made.data), full_check=True)
    assert made.description.built_at
    assert not made.description.HasField("quantization")


def test_the_nodes_listed_as_fp32_are_those_of_the_graph(serve):
    made = make_half(serve(delicate_blobs()), Modality.RGB)

    floats = {node.name for node in made.description.float_nodes if node.reason == OUT_OF_RANGE}
    model = onnx.load_from_string(made.data)
    types = {c.name: c.data_type for c in model.graph.initializer}
    weights = {n.name: types[n.input[1]] for n in model.graph.node if n.op_type == "Conv"}
    assert {n for n, kind in weights.items() if kind == onnx.TensorProto.FLOAT} == floats & {
        *weights
    }
    assert "network/conv1/3x3_s2" in floats


def test_the_same_model_gives_the_same_fp16_file(serve):
    one, other = (make_half(serve(tiny_blobs()), Modality.RGB) for _ in range(2))

    assert one.entry().file == other.entry().file


def test_int8_is_made_for_cpus_and_for_tensorrt(serve, frames):
    options = Int8Options(Calibrator.MINMAX, float_layers=1, reduce_range=True)
    calibration = Calibration(frames, ["a/b.mp4", "c"], options, max_drop=1.0)

    made = list(make_int8(serve(tiny_blobs()), calibration, quiet))

    int8 = pb.PRECISION_INT8
    assert described(made) == [
        (pb.ARTIFACT_KIND_SERVING_ONNX, int8, "model-int8", ".onnx"),
        (pb.ARTIFACT_KIND_TENSORRT_ONNX, int8, "model-int8-tensorrt", ".onnx"),
    ]
    for artifact in made:
        quantization = artifact.description.quantization
        assert (quantization.calibrator, quantization.calibration_snippets) == ("minmax", 4)
        assert list(quantization.videos) == ["b.mp4", "c"]
        assert (quantization.float_layers, quantization.reduce_range) == (
            1,
            artifact.description.kind == pb.ARTIFACT_KIND_SERVING_ONNX,
        )
        assert quantization.max_drop == 1.0


def test_the_accuracy_of_int8_is_that_of_the_other_half_of_the_frames(serve, frames):
    lines: list[str] = []

    made = list(
        make_int8(serve(tiny_blobs()), Calibration(frames[:7], [], max_drop=1), lines.append)
    )

    for artifact in made:
        accuracy = artifact.description.quantization.accuracy
        assert artifact.description.quantization.calibration_snippets == 4
        assert accuracy.snippets == accuracy.clear_snippets == 3
        assert accuracy.snr_db > 10
        assert [noise.layer for noise in accuracy.worst_layers][-1].startswith("network/")
        assert len(accuracy.worst_layers) == 4
    assert [line.splitlines()[0] for line in lines if "against" in line] == [
        "INT8 for cpu, against FP32 on 3 other snippets:",
        "INT8 for tensorrt, against FP32 on 3 other snippets:",
    ]
    assert lines[-1].startswith("Only 3 snippets could tell what is lost")


@pytest.mark.parametrize("calibrator", list(Calibrator))
def test_int8_that_loses_too_many_first_classes_is_refused(serve, frames, calibrator):
    model, options = serve(delicate_blobs()), Int8Options(calibrator)
    allowed = Calibration(frames, [], options, max_drop=0.5)

    assert len(list(make_int8(model, allowed, quiet))) == 2
    refused = r"first class of 50\.0% of the snippets.*at most 49\.0% is allowed.*nothing was"
    with pytest.raises(OutOfTolerance, match=rf"{refused} written.*--int8-float-layers"):
        list(make_int8(model, Calibration(frames, [], options, max_drop=0.49), quiet))


def test_without_a_clear_first_class_nothing_can_be_told(serve, frames):
    blobs = tiny_blobs()
    blobs["fc-action"] = [np.zeros((5, 10)), np.ones(5)]

    with pytest.raises(OutOfTolerance, match="clear on none of the 4 snippets"):
        list(make_int8(serve(blobs), Calibration(frames, [], max_drop=1.0), quiet))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_snippets_cannot_both_calibrate_and_measure(serve, frames, count):
    with pytest.raises(CalibrationError, match=rf"give {count} snippet.*Give more or longer"):
        list(make_int8(serve(tiny_blobs()), Calibration(frames[:count], []), quiet))


def test_accuracy_is_told_in_plain_words():
    noise = (LayerNoise("network/conv1", 12.34), LayerNoise("network/fc", 20.0))

    text = "\n".join(accuracy_lines("INT8", Accuracy(8, 0.75, 4, 0.5, 0.01234, 25.01, noise)))

    for words in (
        "INT8, against FP32 on 8 other snippets:",
        "same first class       75.0%",
        "50.0% of 4 snippets (drop 50.0%)",
        "0.0123 nats",
        "25.0 dB",
        "conv1 12.3 dB, fc 20.0 dB",
    ):
        assert words in text


def test_what_may_be_lost_is_what_the_documentation_says():
    assert (FP16_MAX_ERROR, INT8_MAX_DROP) == (1e-2, 0.01)
