import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.builders import random_bytes
from tsnd_builder.inference import batches, open_session, run_batches, with_outputs

STEP = 8192
"""Of a quantized sum of 64 products of two bytes, at most 2 million."""


@pytest.fixture
def model():
    """A graph that sums up each row of bytes, and also returns twice the sum."""
    axes = numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "sum"], ["twice"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 3])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("sum", "twice")
    ]
    graph = helper.make_graph(nodes, "sums", inputs, outputs, initializer=[axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])]
)
def test_batches_are_full_but_for_the_last(count, sizes):
    frames = random_bytes(1, count, 2)

    cut = list(batches(frames, 4))

    assert [len(batch) for batch in cut] == sizes
    np.testing.assert_array_equal(np.concatenate([*cut, frames[:0]]), frames)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_rows_come_back_in_order_whatever_the_batches(model, size):
    frames = random_bytes(2, 7, 3)

    total, twice = run_batches(open_session(model), ["sum", "twice"], frames, size)

    np.testing.assert_array_equal(total, frames.sum(axis=1))
    np.testing.assert_array_equal(twice, 2 * total)


def test_outputs_come_in_the_order_they_are_asked_for(model):
    twice, total = run_batches(open_session(model), ["twice", "sum"], random_bytes(2, 2, 3))

    np.testing.assert_array_equal(twice, 2 * total)


def test_inner_values_can_be_returned_instead_of_the_outputs(model):
    before = model.SerializeToString()

    inner = with_outputs(model, ["floats"])

    session = open_session(inner)
    assert [output.name for output in session.get_outputs()] == ["floats"]
    frames = random_bytes(3, 2, 3)
    np.testing.assert_array_equal(run_batches(session, ["floats"], frames)[0], frames)
    assert model.SerializeToString() == before


def test_exact_int8_computes_in_float_what_the_graph_says():
    """Sums of products near 127 * 255 * 2 saturate at 16 bits on CPUs without VNNI."""
    rng = np.random.default_rng(0)
    weight = rng.integers(100, 128, (1, 64, 1, 1)).astype(np.int8)
    frames = rng.integers(200, 256, (1, 64, 1, 1)).astype(np.uint8)
    model = _quantized_convolution(weight)

    (found,) = run_batches(open_session(model, exact_int8=True), ["y"], frames)

    products = weight.astype(np.int64) * frames.astype(np.int64)
    assert found.item() == np.rint(products.sum() / STEP) * STEP


def _quantized_convolution(weight: np.ndarray) -> onnx.ModelProto:
    constants = {
        "one": np.float32(1),
        "step": np.float32(STEP),
        "zero_u8": np.uint8(0),
        "zero_s8": np.int8(0),
        "weight": weight,
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "one", "zero_u8"], ["values"]),
        helper.make_node("DequantizeLinear", ["weight", "one", "zero_s8"], ["weights"]),
        helper.make_node("Conv", ["values", "weights"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "step", "zero_u8"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "step", "zero_u8"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 64, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 1, 1])],
        initializer=[numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
