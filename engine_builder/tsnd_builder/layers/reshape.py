"""Reshape: gives its bottom, or a range of its axes, another shape."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter, ReshapeParameter
from tsnd_builder.caffe.graph import Dim, Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.reshaping import check_same_size, infer_dim, write_reshape
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Replace a range of axes; 0 copies an axis, one -1 is inferred (reshape_layer.cpp)."""
    (bottom,) = bottoms
    reshape = parameters.reshape_param
    start, end = _range(reshape, bottom)
    wanted = [_wanted(dim, start + i, bottom) for i, dim in enumerate(reshape.shape.dim)]
    head, tail = bottom[:start], bottom[end:]
    if wanted.count(-1) > 1:
        raise LayerError("its shape has more than one -1; at most one axis can be inferred.")
    if -1 in wanted:
        others = (*head, *(dim for dim in wanted if dim != -1), *tail)
        wanted[wanted.index(-1)] = infer_dim(bottom, others)
    shape = (*head, *wanted, *tail)
    check_same_size(bottom, shape)
    return [shape]


def convert_reshape(layer: Layer, writer: NodeWriter) -> None:
    """Write a Reshape whose lengths are worked out, all but one that depends on the batch."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    write_reshape(writer, bottom.name, top.shape, top.name, name=layer.name)


def _range(reshape: ReshapeParameter, bottom: Shape) -> tuple[int, int]:
    """Return the axes to replace; a negative axis counts from behind the last one."""
    rank = len(bottom)
    start = reshape.axis if reshape.axis >= 0 else rank + reshape.axis + 1
    end = rank if reshape.num_axes == -1 else start + reshape.num_axes
    if not 0 <= start <= end <= rank:
        raise LayerError(
            f"its axis {reshape.axis} and num_axes {reshape.num_axes} do not lie in a bottom of "
            f"shape {list(bottom)}."
        )
    return start, end


def _wanted(dim: int, axis: int, bottom: Shape) -> Dim:
    if dim < -1:
        raise LayerError(f"its shape has the length {dim}; use a length, 0 or -1.")
    if dim != 0:
        return dim
    if axis >= len(bottom):
        raise LayerError(f"its shape copies axis {axis}, which a {list(bottom)} bottom has not.")
    return bottom[axis]


SPEC = LayerSpec(
    type="Reshape", infer_shapes=infer_shapes, convert=convert_reshape, shares_storage=True
)
