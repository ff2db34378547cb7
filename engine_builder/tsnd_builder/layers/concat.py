"""Concat: joins bottoms along one axis."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import ConcatParameter, LayerParameter
from tsnd_builder.caffe.graph import Dim, Layer, Shape
from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.layers.reshaping import batches_in, multiple_of_batch
from tsnd_builder.layers.spec import LayerSpec, canonical_axis
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Add up the lengths along the axis; all other axes must agree."""
    first = bottoms[0]
    axis = _axis(parameters.concat_param, first)
    for other in bottoms[1:]:
        if _without(other, axis) != _without(first, axis) or len(other) != len(first):
            raise LayerError(
                f"its bottoms {list(first)} and {list(other)} differ elsewhere than in axis {axis}."
            )
    return [(*first[:axis], _total([b[axis] for b in bottoms]), *first[axis + 1 :])]


def convert_concat(layer: Layer, writer: NodeWriter) -> None:
    """Write a Concat."""
    (top,) = layer.tops
    axis = _axis(layer.parameters.concat_param, layer.bottoms[0].shape)
    writer.node("Concat", [b.name for b in layer.bottoms], top.name, name=layer.name, axis=axis)


def _axis(concat: ConcatParameter, shape: Shape) -> int:
    if concat.HasField("axis") and concat.HasField("concat_dim"):
        raise LayerError("it sets both axis and concat_dim; keep axis.")
    return canonical_axis(
        concat.concat_dim if concat.HasField("concat_dim") else concat.axis, shape
    )


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _total(dims: list[Dim]) -> Dim:
    """Add lengths, which must all be known or all be multiples of the batch."""
    if all(isinstance(dim, int) for dim in dims):
        return sum(dim for dim in dims if isinstance(dim, int))
    if any(isinstance(dim, int) for dim in dims):
        raise BatchDependent("it joins rows of the batch with others.")
    return multiple_of_batch(sum(batches_in(str(dim)) for dim in dims))


SPEC = LayerSpec(
    type="Concat",
    infer_shapes=infer_shapes,
    convert=convert_concat,
    bottoms=(2, float("inf")),
)
