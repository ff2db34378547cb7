"""Concat: joins bottoms along one axis."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import ConcatParameter, LayerParameter
from tsnd_builder.caffe.graph import Dim, Layer, Shape
from tsnd_builder.errors import LayerError
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
    """Add lengths; a sum with an unknown one in it is unknown, and named after its terms."""
    known = sum(d for d in dims if isinstance(d, int))
    unknown = [d for d in dims if isinstance(d, str)]
    return "+".join([*unknown, *([str(known)] if known else [])]) if unknown else known


SPEC = LayerSpec(
    type="Concat",
    infer_shapes=infer_shapes,
    convert=convert_concat,
    bottoms=(2, float("inf")),
)
