from pathlib import Path

import pytest
from google.protobuf import text_format

from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.caffe.inputs import read_inputs
from tsnd_builder.errors import PrototxtError


def inputs_of(text):
    net = text_format.Parse(text, NetParameter())
    return read_inputs(net, list(net.layer), Path("net.prototxt"))


def input_layer(tops, *shapes, name="in"):
    blobs = " ".join(f"top: '{top}'" for top in tops.split())
    dims = " ".join(f"shape {{ dim: {list(shape)} }}" for shape in shapes)
    return f"layer {{ name: '{name}' type: 'Input' {blobs} input_param {{ {dims} }} }}\n"


HEAD = "input: 'data' input_shape { dim: [9, 3, 8, 8] }\n"


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        (HEAD, {"data": (9, 3, 8, 8)}),
        ("input: 'data' input_dim: [9, 3, 8, 8]", {"data": (9, 3, 8, 8)}),
        (
            "input: 'b' input: 'a' input_dim: [1, 2, 3, 4] input_dim: [5, 6, 7, 8]",
            {"b": (1, 2, 3, 4), "a": (5, 6, 7, 8)},
        ),
        (
            "input: ['b', 'a'] input_shape { dim: 4 } input_shape { dim: [1, 2, 3, 4, 5] }",
            {"b": (4,), "a": (1, 2, 3, 4, 5)},
        ),
        (input_layer("data", (9, 3, 8, 8)), {"data": (9, 3, 8, 8)}),
        (input_layer("b a", (2, 3)), {"b": (2, 3), "a": (2, 3)}),
        (input_layer("b a", (2, 3), (4,)), {"b": (2, 3), "a": (4,)}),
        (input_layer("b", (2, 3)) + input_layer("a", (4,)), {"b": (2, 3), "a": (4,)}),
        (input_layer("b", (2, 3)) + HEAD, {"data": (9, 3, 8, 8), "b": (2, 3)}),
    ],
)
def test_inputs_are_read_in_order_those_of_the_head_first(text, inputs):
    assert list(inputs_of(text).items()) == list(inputs.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "declares no input.*deploy file"),
        ("layer { name: 'r' type: 'ReLU' top: 'x' }", "declares no input"),
        (input_layer(""), "declares no input"),
        ("input: 'data'", r"names 1 input\(s\); it needs an input_shape per input, and has 0"),
        (HEAD + "input: 'b'", r"names 2 input\(s\); it needs an input_shape .* has 1"),
        ("input_dim: [1, 3, 8, 8]", r"names 0 input\(s\); it needs 0 input_dim lines"),
        ("input: 'a' input_dim: [1, 3, 8, 8, 1]", "needs 4 input_dim lines, .* has 5"),
        (HEAD + "input_dim: [9, 3, 8, 8]", "both input_shape and input_dim; keep one"),
        (HEAD + input_layer("data", (1,)), "names an input twice: data, data"),
        (input_layer("a a", (1,)), "names an input twice: a, a"),
        (input_layer("a", (1,)) + input_layer("a", (1,)), "names an input twice: a, a"),
        (input_layer("a"), r"layer 'in' \(Input\): it has 1 top\(s\) and 0 shape\(s\)"),
        (input_layer("a", (1,), (2,)), r"it has 1 top\(s\) and 2 shape\(s\); give .* one per top"),
        (input_layer("a b c", (1,), (2,)), r"it has 3 top\(s\) and 2 shape\(s\)"),
        (input_layer("a", (1, 0)), r"input 'a' has the shape \[1, 0\]; use sizes >= 1"),
        (input_layer("a", ()), r"input 'a' has the shape \[\]; use sizes >= 1"),
        (input_layer("a", (-1, 3)), r"input 'a' has the shape \[-1, 3\]"),
        ("input: 'a' input_dim: [0, 3, 8, 8]", r"shape \[0, 3, 8, 8\]; use sizes >= 1"),
        ("input: '' input_shape { dim: 1 }", "the name of an input is empty"),
    ],
)
def test_inputs_that_do_not_pair_with_shapes_are_refused(text, reason):
    with pytest.raises(PrototxtError, match=rf"^net\.prototxt.* {reason}"):
        inputs_of(text)
