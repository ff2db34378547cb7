"""Shows on a CPU what a strongly typed FP16 graph computes on a GPU.

ONNX Runtime has few FP16 kernels for CPUs. Where it lacks one it computes in FP32, and
between two such nodes it does not round at all ("InsertedPrecisionFreeCast"), so running
the graph itself would tell nothing of overflow or of what rounding costs.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def with_roundings(half: onnx.ModelProto) -> onnx.ModelProto:
    """Return an FP32 graph with the results of one in FP16, rounded at the same places.

    Args:
        half: As `to_half` returns it.
    """
    halves = _half_values(half)
    graph = half.graph
    rounded = onnx.ModelProto()
    rounded.CopyFrom(half)
    for field in ("node", "initializer", "value_info"):
        rounded.graph.ClearField(field)
    for node in graph.node:
        rounded.graph.node.extend(_rounded(node, halves))
    rounded.graph.initializer.extend(
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        if tensor.data_type == TensorProto.FLOAT16
        else tensor
        for tensor in graph.initializer
    )
    return rounded


def _half_values(half: onnx.ModelProto) -> frozenset[str]:
    return frozenset(
        info.name
        for info in half.graph.value_info
        if info.type.tensor_type.elem_type == TensorProto.FLOAT16
    )


def _rounded(node: onnx.NodeProto, halves: frozenset[str]) -> Iterator[onnx.NodeProto]:
    """Yield a node that computes in FP32, and a Cast there and back for each FP16 it makes."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute if node.op_type == "Cast" else ():
        if attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
    copy.output[:] = [f"{v}!exact" if v in halves else v for v in node.output]
    yield copy
    for value in (v for v in node.output if v in halves):
        yield helper.make_node(
            "Cast", [f"{value}!exact"], [f"{value}!half"], to=TensorProto.FLOAT16
        )
        yield helper.make_node("Cast", [f"{value}!half"], [value], to=TensorProto.FLOAT)
