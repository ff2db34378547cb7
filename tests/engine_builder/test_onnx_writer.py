import numpy as np
from onnx import TensorProto, numpy_helper

from tsnd_builder.onnx_writer import NodeWriter


def test_a_fresh_name_is_the_hint_unless_it_is_taken():
    writer = NodeWriter(reserved=["x"])

    assert [writer.fresh(hint) for hint in ("y", "y", "y", "x")] == ["y", "y.2", "y.3", "x.2"]


def test_nodes_get_unique_names_and_keep_their_order():
    writer = NodeWriter()

    outputs = [
        writer.node("Relu", ["a"], "b", name="relu"),
        writer.node("Relu", ["b"], "c", name="relu"),
    ]

    assert outputs == ["b", "c"]
    assert [(node.name, list(node.input)) for node in writer.nodes] == [
        ("relu", ["a"]),
        ("relu.2", ["b"]),
    ]


def test_attributes_keep_their_types():
    writer = NodeWriter()

    writer.node("Conv", ["a", "w"], "b", name="conv", group=2, pads=[0, 1], alpha=0.5, mode="x")

    attributes = {attribute.name: attribute for attribute in writer.nodes[0].attribute}
    assert attributes["group"].i == 2
    assert list(attributes["pads"].ints) == [0, 1]
    assert attributes["alpha"].f == 0.5
    assert attributes["mode"].s == b"x"


def test_floats_are_rounded_to_float32_and_integers_have_one_axis():
    writer = NodeWriter()

    names = [writer.floats("w", np.full((2, 1), 1 / 3)), writer.integers("axes", [2, 3])]

    weight, axes = writer.initializers
    assert names == ["w", "axes"]
    assert (weight.data_type, list(weight.dims)) == (TensorProto.FLOAT, [2, 1])
    assert (axes.data_type, list(axes.dims)) == (TensorProto.INT64, [2])
    assert numpy_helper.to_array(weight)[0, 0] == np.float32(1 / 3)


def test_a_constant_never_takes_a_reserved_name():
    writer = NodeWriter(reserved=["w"])

    assert writer.floats("w", [1.0]) == "w.2"
    assert writer.initializers[0].name == "w.2"


def test_a_chain_feeds_each_operator_the_result_of_the_one_before():
    writer = NodeWriter()

    assert writer.chain("x", [("Mul", "a"), ("Add", "b"), ("Pow", "c")], "y", name="it") == "y"

    first, second, last = writer.nodes
    assert [node.op_type for node in writer.nodes] == ["Mul", "Add", "Pow"]
    assert list(first.input) == ["x", "a"]
    assert list(second.input) == [first.output[0], "b"]
    assert list(last.input) == [second.output[0], "c"]
    assert list(last.output) == ["y"]


def test_a_chain_without_operators_is_an_identity():
    writer = NodeWriter()

    writer.chain("x", [], "y", name="it")

    (node,) = writer.nodes
    assert (node.op_type, list(node.input), list(node.output)) == ("Identity", ["x"], ["y"])


def test_a_node_may_have_several_outputs():
    writer = NodeWriter()

    assert writer.node("TopK", ["x", "k"], ["values", "ranks"], name="top") == "values"
    assert list(writer.nodes[0].output) == ["values", "ranks"]
