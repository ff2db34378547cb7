import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.builders import delicate_blobs, graph_of, random_bytes, tiny_blobs, tiny_net
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PackageError
from tsnd_builder.export import export_onnx
from tsnd_builder.inference import open_session, run_batches
from tsnd_builder.lowering import FP16_MAX_ERROR
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.int8 import Int8Options, Recipe, quantize
from tsnd_builder.serving_graph import Modality, build_serving_model, find_heads, serving_spec
from tsnd_builder.verification.precisions import (
    FRAMES,
    FloatResults,
    compare_results,
    onnx_findings,
)

MANIFEST = pb.ModelManifest(
    modality=pb.MODALITY_RGB,
    input=pb.TensorSpec(shape=[16, 21, 3]),
    outputs=[pb.TensorSpec(name="scores"), pb.TensorSpec(name="features")],
)
HALF = pb.Artifact(
    file="half.onnx", kind=pb.ARTIFACT_KIND_SERVING_ONNX, precision=pb.PRECISION_FP16
)
INT8 = pb.Artifact(
    file="int8.onnx", kind=pb.ARTIFACT_KIND_TENSORRT_ONNX, precision=pb.PRECISION_INT8
)


@pytest.fixture
def serve(tmp_path):
    def make(blobs=None, classes=5):
        blobs = blobs or tiny_blobs(classes=classes)
        graph = graph_of(tmp_path, tiny_net(classes=classes), blobs)
        spec = serving_spec(graph, Modality.RGB, crops_per_snippet=1)
        return build_serving_model(graph, spec, find_heads(graph))

    return make


def test_both_outputs_are_compared_on_extremes_noise_and_natural_frames(serve):
    model = serve()

    found = list(onnx_findings(HALF, to_half(model, float_nodes=[]), FloatResults(model, MANIFEST)))

    places = [(f.inputs, f.output) for f in found]
    kinds = ("extreme", "noise", "natural")
    assert places == [(kind, output) for kind in kinds for output in ("scores", "features")]
    assert {(f.artifact, f.tolerance) for f in found} == {("half.onnx", FP16_MAX_ERROR)}
    assert all(f.is_within_tolerance and f.agreement.max_error > 0 for f in found)


def test_as_many_frames_are_drawn_as_is_said(serve):
    reference = FloatResults(serve(), MANIFEST)

    assert [len(frames) for _, frames in reference.frames] == [4, FRAMES, FRAMES]
    assert [len(scores) for scores, _ in reference.expected] == [4, FRAMES, FRAMES]


def test_a_weight_that_is_off_by_a_tenth_is_noticed(serve):
    model = serve()
    half = to_half(model, float_nodes=[])
    (weight,) = [t for t in half.graph.initializer if t.name == "network/fc-action.weight/half"]
    spoilt = numpy_helper.to_array(weight) * np.float16(1.1)
    weight.CopyFrom(numpy_helper.from_array(spoilt, weight.name))

    found = list(onnx_findings(HALF, half, FloatResults(model, MANIFEST)))

    assert {f.output for f in found if not f.is_within_tolerance} == {"scores"}


def test_an_overflow_that_only_a_gpu_would_have_is_noticed(serve):
    blobs = tiny_blobs()
    blobs["conv1/3x3_s2_bn"][0] *= 2e4  # the slope
    model = serve(blobs)

    found = list(onnx_findings(HALF, to_half(model, float_nodes=[]), FloatResults(model, MANIFEST)))

    assert not any(f.is_within_tolerance for f in found)


def test_int8_may_differ_but_must_be_numbers(serve):
    model = serve(delicate_blobs())
    frames = random_bytes(1, 4, 16, 21, 3)
    quantized = quantize(model, frames, Int8Options())[Recipe.TENSORRT]
    reference = FloatResults(model, MANIFEST)

    found = list(onnx_findings(INT8, quantized, reference))
    spoilt = list(onnx_findings(INT8, with_nan(quantized), reference))

    assert all(f.is_within_tolerance and f.tolerance is None for f in found)
    assert max(f.agreement.max_error for f in found) > 0.1
    assert not any(f.is_within_tolerance for f in spoilt if f.output == "scores")


def with_nan(model):
    """Return a copy whose classifier has a weight that is no number."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (weight,) = [t for t in copy.graph.initializer if t.name == "network/fc-action.weight"]
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return copy


def test_a_graph_of_another_kind_is_refused(serve, tmp_path):
    reference = FloatResults(serve(), MANIFEST)
    network = export_onnx(graph_of(tmp_path, tiny_net(), tiny_blobs()))

    for other in (network, onnx.ModelProto()):
        with pytest.raises(PackageError, match=r"half\.onnx does not run as the FP32 graph does"):
            list(onnx_findings(HALF, other, reference))


def test_a_graph_of_other_classes_is_refused(serve):
    half = to_half(serve(classes=6), float_nodes=[])
    reference = FloatResults(serve(), MANIFEST)

    with pytest.raises(
        PackageError, match=r"half\.onnx gives scores of \(4, 6\), FP32 of \(4, 5\)"
    ):
        list(onnx_findings(HALF, half, reference))


def test_results_from_elsewhere_are_held_to_the_tolerance_of_their_precision(serve):
    model = serve()
    reference = FloatResults(model, MANIFEST)
    session = open_session(model)
    plan = pb.Artifact(file="a.plan", kind=pb.ARTIFACT_KIND_PLAN, precision=pb.PRECISION_FP32)
    outputs = reference.outputs

    results = [run_batches(session, outputs, frames) for _, frames in reference.frames]
    results[1][0] = results[1][0] + 3e-4 * np.abs(results[1][0]).max()
    found = list(compare_results(plan, iter(results), reference))

    assert [(f.inputs, f.output) for f in found if not f.is_within_tolerance] == [
        ("noise", "scores")
    ]
