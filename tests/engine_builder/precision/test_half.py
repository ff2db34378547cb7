from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.builders import graph_of, layer, max_relative_error, net, random_floats, run_onnx
from tsnd_builder.assemble import load_graph
from tsnd_builder.export import export_onnx
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.rounding import with_roundings

FP16_TOLERANCE = 1e-2
"""Largest error of a small net in FP16: a few roundings to 11 bits, and what they grow to."""

ZOO = Path(__file__).resolve().parents[2] / "data" / "caffe_zoo"
REFUSED = {"batchnorm_use_batch_stats", "pool_max_mask_top"} | {
    f"pool_{method}_empty_window" for method in ("max", "ave")
}
CASES = sorted({case.name for case in ZOO.iterdir()} - REFUSED)
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}

IMAGE = random_floats(1, 2, 3, 8, 8)
CHAIN = [
    layer("a", "Sigmoid", "data", "a"),
    layer("b", "TanH", "a", "b"),
    layer("c", "AbsVal", "b", "c"),
]


@pytest.fixture
def exported(tmp_path):
    """Convert a net to ONNX in FP32, batch normalization kept."""

    def export(*layers, blobs=None, outputs=(), **shapes):
        graph = graph_of(tmp_path, net(*layers, **shapes), blobs)
        return export_onnx(graph, outputs=outputs, keep_bn=True)

    return export


def types_of(model):
    """Return the element type of every value, constants included."""
    infos = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return types | {constant.name: constant.data_type for constant in model.graph.initializer}


def nodes_of(model):
    return [node.op_type for node in model.graph.node]


def casts_of(model):
    return [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Cast"]


def run_half(half, inputs):
    """Run an FP16 graph with the roundings that ONNX Runtime's CPU leaves out."""
    return run_onnx(with_roundings(half), inputs)


def assert_strongly_typed(half, float_nodes):
    """Check that all floats at a node have the one precision that it computes in."""
    onnx.checker.check_model(half, full_check=True)
    types = types_of(half)
    for node in half.graph.node:
        if node.op_type != "Cast":
            is_float = node.name in float_nodes or node.op_type == "ConstantOfShape"
            wanted = TensorProto.FLOAT if is_float else TensorProto.FLOAT16
            found = {types[value] for value in (*node.input, *node.output) if value}
            assert found & FLOATS <= {wanted}, node.name


@pytest.mark.parametrize("kept", [slice(0), slice(0, None, 2)], ids=["none", "every_other"])
@pytest.mark.parametrize("case", CASES)
def test_every_layer_computes_in_fp16_what_it_does_in_fp32(case, kept):
    weights = ZOO / case / "weights.caffemodel"
    graph = load_graph(ZOO / case / "net.prototxt", weights if weights.exists() else None)
    with np.load(ZOO / case / "io.npz") as file:
        inputs = {key.removeprefix("in/"): file[key] for key in file if key.startswith("in/")}
    model = export_onnx(graph, keep_bn=True)
    float_nodes = [node.name for node in model.graph.node][kept]

    half = to_half(model, float_nodes=float_nodes)

    assert_strongly_typed(half, float_nodes)
    expected, found = run_onnx(model, inputs), run_half(half, inputs)
    run_onnx(half, inputs)
    for output, values in expected.items():
        assert max_relative_error(found[output], values) < FP16_TOLERANCE


def test_with_all_nodes_kept_every_bit_stays(tiny, frames):
    half = to_half(tiny, float_nodes=[node.name for node in tiny.graph.node])

    expected, found = run_onnx(tiny, {"snippets": frames}), run_onnx(half, {"snippets": frames})

    assert nodes_of(half) == nodes_of(tiny)
    assert list(half.graph.initializer) == list(tiny.graph.initializer)
    assert all(np.array_equal(found[output], expected[output]) for output in expected)


def test_a_serving_graph_in_fp16_is_one_but_for_its_edges(tiny, frames):
    half = to_half(tiny, float_nodes=[])

    expected, found = run_onnx(tiny, {"snippets": frames}), run_half(half, {"snippets": frames})

    assert_strongly_typed(half, [])
    assert [target for _, target in casts_of(half)] == ["pixels", "scores", "features"]
    for output, values in expected.items():
        assert 0 < max_relative_error(found[output], values) < FP16_TOLERANCE


def test_inputs_and_outputs_stay_as_they_are(tiny):
    half = to_half(tiny, float_nodes=["network/fc-action"])

    assert list(half.graph.input) == list(tiny.graph.input)
    assert list(half.graph.output) == list(tiny.graph.output)
    assert list(half.opset_import) == list(tiny.opset_import)


def test_pixels_become_fp16_at_once(tiny):
    half = to_half(tiny, float_nodes=[])

    (pixels,) = [node for node in half.graph.node if node.name == "pixels"]
    assert [attribute.i for attribute in pixels.attribute] == [TensorProto.FLOAT16]


def test_between_two_fp32_nodes_nothing_is_rounded(exported):
    model = exported(*CHAIN, outputs=["b", "c"])

    half = to_half(model, float_nodes=["a", "b"])

    assert nodes_of(half) == ["Sigmoid", "Tanh", "Cast", "Abs", "Cast"]
    expected, found = run_onnx(model, {"data": IMAGE}), run_half(half, {"data": IMAGE})
    np.testing.assert_array_equal(found["b"], expected["b"])
    np.testing.assert_array_equal(found["c"], np.abs(expected["b"]).astype(np.float16))


def test_the_precision_of_a_value_is_that_of_its_maker(exported):
    half = to_half(exported(*CHAIN), float_nodes=["b"])

    types = types_of(half)
    assert [types[value] for value in ("a", "b", "c")] == [
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
        TensorProto.FLOAT,  # an output
    ]
    assert casts_of(half) == [
        ("data", "data/half"),
        ("a", "a/float"),
        ("b", "b/half"),
        ("c/half", "c"),
    ]


def test_a_value_is_cast_once_however_many_read_it(exported):
    readers = [layer(f"r{i}", "AbsVal", "a", f"r{i}") for i in range(3)]

    half = to_half(exported(CHAIN[0], *readers), float_nodes=["a"])

    assert [source for source, _ in casts_of(half)].count("a") == 1


def test_an_fp16_output_that_others_read_is_cast_once(exported):
    model = exported(*CHAIN, outputs=["a", "c"])

    half = to_half(model, float_nodes=["b"])

    assert casts_of(half) == [
        ("data", "data/half"),
        ("a/half", "a"),
        ("b", "b/half"),
        ("c/half", "c"),
    ]
    expected, found = run_onnx(model, {"data": IMAGE}), run_half(half, {"data": IMAGE})
    np.testing.assert_array_equal(found["a"], found["a"].astype(np.float16))
    assert max_relative_error(found["c"], expected["c"]) < FP16_TOLERANCE


def test_weights_that_both_precisions_read_are_there_in_both(exported):
    settings = "convolution_param { num_output: 4 kernel_size: 3 }"
    twice = layer("conv", "Convolution", "data data", "x y", settings)
    blobs = {"conv": [random_floats(2, 4, 3, 3, 3), random_floats(3, 4)]}

    half = to_half(exported(twice, blobs=blobs), float_nodes=["conv.2"])

    assert {c.name: c.data_type for c in half.graph.initializer} == {
        "conv.weight": TensorProto.FLOAT,
        "conv.weight/half": TensorProto.FLOAT16,
        "conv.bias": TensorProto.FLOAT,
        "conv.bias/half": TensorProto.FLOAT16,
    }
    found = run_onnx(half, {"data": IMAGE})
    assert 0 < max_relative_error(found["x"], found["y"]) < FP16_TOLERANCE


def test_integers_stay_integers(exported):
    topk = layer("t", "ArgMax", "data", "t", "argmax_param { top_k: 2 }")
    model = exported(topk)
    before = types_of(model)

    after = types_of(to_half(model, float_nodes=[]))

    integers = {value: kind for value, kind in before.items() if kind not in FLOATS}
    assert TensorProto.INT64 in integers.values()
    assert {value: after[value] for value in integers} == integers


@pytest.mark.parametrize("float_nodes", [[], ["t"], ["t.2"], ["t", "t.2"]], ids=str)
def test_a_cast_of_truth_values_makes_the_precision_that_is_wanted(exported, float_nodes):
    model = exported(layer("t", "Threshold", "data", "t"))
    assert nodes_of(model) == ["Greater", "Cast"]

    half = to_half(model, float_nodes=float_nodes)

    expected = (IMAGE.astype(np.float16) > 0).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(half, {"data": IMAGE})["t"], expected)


def test_names_that_are_taken_are_given_to_nothing_else(exported):
    taken = [layer("x", "AbsVal", "data", "a/half"), layer("y", "TanH", "a/half", "data/half")]

    half = to_half(exported(*CHAIN[:1], *taken, outputs=["a", "data/half"]), float_nodes=["x"])

    assert_strongly_typed(half, ["x"])
    values = [value for node in half.graph.node for value in node.output]
    assert len(values) == len(set(values))


def test_the_model_given_is_not_changed(tiny):
    before = tiny.SerializeToString()

    to_half(tiny, float_nodes=["network/fc-action"])

    assert tiny.SerializeToString() == before


def test_the_order_of_kept_nodes_makes_no_difference(tiny):
    names = [node.name for node in tiny.graph.node][::2]

    one, other = (to_half(tiny, float_nodes=kept) for kept in (names, set(names)))

    assert one.SerializeToString() == other.SerializeToString()
