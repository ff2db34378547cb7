"""BatchReduction, a layer of the fork: reduces one axis by SUM, MEAN or TOPK."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import BatchReductionParameter, LayerParameter, ReductionParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec, canonical_axis, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter

_OPERATIONS = (ReductionParameter.SUM, ReductionParameter.MEAN, ReductionParameter.TOPK)


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Drop the axis."""
    (bottom,) = bottoms
    batch_reduction = parameters.batch_reduction_param
    _check(batch_reduction)
    reduction = batch_reduction.reduction_param
    axis = canonical_axis(reduction.axis, bottom)
    (length,) = fixed_dims(bottom[axis : axis + 1], 0)
    if reduction.operation == ReductionParameter.TOPK and not 1 <= reduction.k <= length:
        raise LayerError(f"its k {reduction.k} must be from 1 to the axis's length {length}.")
    return [(*bottom[:axis], *bottom[axis + 1 :])]


def convert_batch_reduction(layer: Layer, writer: NodeWriter) -> None:
    """Write the reduction; TOPK is the mean of the k largest."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    reduction = layer.parameters.batch_reduction_param.reduction_param
    axis = canonical_axis(reduction.axis, bottom.shape)
    source = bottom.name
    if reduction.operation == ReductionParameter.SUM:
        names = [source, writer.integers(f"{layer.name}.axes", [axis])]
        writer.node("ReduceSum", names, top.name, name=layer.name, keepdims=0)
        return
    if reduction.operation == ReductionParameter.TOPK:
        count = writer.integers(f"{layer.name}.k", [reduction.k])
        source, ranks = (writer.fresh(f"{layer.name}/{key}") for key in ("largest", "ranks"))
        writer.node(
            "TopK", [bottom.name, count], [source, ranks], name=f"{layer.name}/top", axis=axis
        )
    writer.node("ReduceMean", [source], top.name, name=layer.name, axes=[axis], keepdims=0)


def _check(batch_reduction: BatchReductionParameter) -> None:
    if list(batch_reduction.level) not in ([], [1]) or batch_reduction.pos:
        raise LayerError("it reduces over several levels; only the default, level 1, converts.")
    if batch_reduction.reduction_param.operation not in _OPERATIONS:
        raise LayerError("its operation must be SUM, MEAN or TOPK.")
    if batch_reduction.reduction_param.coeff != 1.0:
        raise LayerError("it has a coefficient, which this layer of Caffe has no rule for.")


SPEC = LayerSpec(type="BatchReduction", infer_shapes=infer_shapes, convert=convert_batch_reduction)
