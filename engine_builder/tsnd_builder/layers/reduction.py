"""Reduction: reduces all axes from one on to a single value, times a coefficient."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter, ReductionParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec, canonical_axis, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter

_OPERATORS = {
    ReductionParameter.ASUM: "ReduceL1",
    ReductionParameter.SUMSQ: "ReduceSumSquare",
    ReductionParameter.MEAN: "ReduceMean",
}


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Drop the axes from `axis` on."""
    (bottom,) = bottoms
    reduction = parameters.reduction_param
    if reduction.operation == ReductionParameter.TOPK:
        raise LayerError("TOPK belongs to BatchReduction; a Reduction has SUM, ASUM, SUMSQ, MEAN.")
    axis = canonical_axis(reduction.axis, bottom)
    fixed_dims(bottom, axis)
    return [bottom[:axis]]


def convert_reduction(layer: Layer, writer: NodeWriter) -> None:
    """Write the reduction and, unless it is 1, the coefficient."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    reduction = layer.parameters.reduction_param
    axes = list(range(canonical_axis(reduction.axis, bottom.shape), len(bottom.shape)))
    result = top.name if reduction.coeff == 1.0 else writer.fresh(f"{layer.name}/reduced")
    if reduction.operation == ReductionParameter.SUM:
        names = [bottom.name, writer.integers(f"{layer.name}.axes", axes)]
        writer.node("ReduceSum", names, result, name=layer.name, keepdims=0)
    else:
        operator = _OPERATORS[reduction.operation]
        writer.node(operator, [bottom.name], result, name=layer.name, axes=axes, keepdims=0)
    if reduction.coeff != 1.0:
        factor = writer.floats(f"{layer.name}.coeff", reduction.coeff)
        writer.node("Mul", [result, factor], top.name, name=f"{layer.name}/scale")


SPEC = LayerSpec(type="Reduction", infer_shapes=infer_shapes, convert=convert_reduction)
