"""What a graph takes, counted by hand, and ceilings on small matrices."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.precision import onnx_runtime
from benchmarks.roofline import (
    Ceilings,
    Row,
    copy_bytes_per_s,
    measure,
    measure_ceilings,
    precision_of,
    report,
    write_products,
)
from benchmarks.work import Work, count


def model(nodes, inputs, outputs, **constants):
    takes, gives = (
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in each]
        for each in (inputs, outputs)
    )
    stored = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    graph = helper.make_graph(nodes, "graph", takes, gives, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


PIXELS = [("pixels", TensorProto.FLOAT, ["N", 4, 5, 5])]


def test_a_convolution_in_groups_is_counted_as_by_hand():
    conv = helper.make_node("Conv", ["pixels", "w"], ["y"], group=2, kernel_shape=[3, 3])
    found = count(
        model(
            [conv],
            PIXELS,
            [("y", TensorProto.FLOAT, ["N", 6, 3, 3])],
            w=np.zeros((6, 2, 3, 3), np.float32),
        )
    )

    values = 6 * 3 * 3
    assert found == Work(
        operations=2 * values * 2 * 3 * 3,
        weights=6 * 2 * 3 * 3,
        activations=4 * 5 * 5 + values,
        pixels=4 * 5 * 5,
        results=values,
    )


@pytest.mark.parametrize(("transposed", "shape"), [(0, (100, 7)), (1, (7, 100))])
def test_a_matrix_product_is_counted_as_by_hand_whichever_way_it_is_stored(transposed, shape):
    nodes = [
        helper.make_node("MaxPool", ["pixels"], ["small"], kernel_shape=[1, 1]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"], transB=transposed),
    ]
    weight = np.zeros(shape, np.float32)
    found = count(model(nodes, PIXELS, [("y", TensorProto.FLOAT, ["N", 7])], w=weight))

    assert found.operations == 2 * 7 * 100
    assert found.weights == 700
    assert found.activations == 100 + 100 + 100 + 7


def test_every_part_of_a_concatenation_is_read():
    nodes = [helper.make_node("Concat", ["pixels", "pixels"], ["y"], axis=1)]
    found = count(model(nodes, PIXELS, [("y", TensorProto.FLOAT, ["N", 8, 5, 5])]))

    assert found.activations == 100 + 100 + 200


def test_a_batch_shares_the_weights():
    work = Work(operations=0, weights=80, activations=10, pixels=3, results=2)

    assert work.bytes_moved(width=4, batch=1) == 4 * 90 + 3 + 8
    assert work.bytes_moved(width=1, batch=8) == 20 + 3 + 8


def test_a_shape_that_cannot_be_inferred_is_said():
    nodes = [
        helper.make_node("NonZero", ["pixels"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["w", "floats"], ["y"]),
    ]
    weight = np.zeros((2, 4), np.float32)
    unknown = model(nodes, PIXELS, [("y", TensorProto.FLOAT, ["N", "M"])], w=weight)

    with pytest.raises(ValueError, match="cannot be inferred"):
        count(unknown)


def test_both_products_give_about_the_same(tmp_path):
    left: Any = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    exact, rounded = (
        onnx_runtime("ONNX Runtime, FP32", path).score(left)
        for path in write_products(tmp_path, 64)
    )
    (weight,) = onnx.load(tmp_path / "product.onnx").graph.initializer

    np.testing.assert_allclose(exact, left @ numpy_helper.to_array(weight), rtol=1e-4, atol=1e-4)
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_ceilings_are_by_precision_and_above_nothing(tmp_path):
    fp32, int8 = write_products(tmp_path, 64)
    engines = [onnx_runtime("ONNX Runtime, FP32", fp32), onnx_runtime("ONNX Runtime, INT8", int8)]

    found = measure_ceilings(engines, 1, side=64, copied_bytes=2**16)

    assert set(found.operations_per_s) == {"FP32", "INT8"}
    assert min(found.operations_per_s.values()) > 0
    assert found.bytes_per_s > 0


def test_a_copy_moves_each_byte_twice():
    assert copy_bytes_per_s(2**20, 2) > 0


def test_each_engine_is_measured_with_each_batch_size_in_every_round(tmp_path):
    engine = onnx_runtime("ONNX Runtime, FP32", write_products(tmp_path, 8)[0])

    rows = measure([engine], np.zeros((4, 8), np.float32), (1, 4), 3)

    assert [(row.batch, len(row.per_s)) for row in rows] == [(1, 3), (4, 3)]
    assert all(rate > 0 for row in rows for rate in row.per_s)


def test_the_table_gives_shares_of_both_ceilings():
    work = Work(operations=2 * 10**9, weights=0, activations=10**7, pixels=0, results=0)
    ceilings = Ceilings({"BF16": 4e11}, 8e9)

    *_, row = report([Row("OpenVINO, BF16", 8, (90.0, 100.0, 110.0))], work, ceilings, 3)

    assert row == "| OpenVINO, BF16 | 8 | 100.0 (90.0..110.0) | 200 | 50% | 2.0 | 25% |"
    assert precision_of("ONNX Runtime, INT8") == "INT8"
