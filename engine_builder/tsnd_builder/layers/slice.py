"""Slice: cuts its bottom along one axis, at given points or into equal parts."""

from collections.abc import Sequence
from itertools import pairwise

from tsnd.caffe.net_pb2 import LayerParameter, SliceParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import ANY_TOPS, LayerSpec, canonical_axis, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give each top its part."""
    (bottom,) = bottoms
    axis = _axis(parameters.slice_param, bottom)
    (length,) = fixed_dims(bottom[axis : axis + 1], 0)
    parts = _parts(parameters.slice_param, length, len(parameters.top))
    return [(*bottom[:axis], part, *bottom[axis + 1 :]) for part in parts]


def convert_slice(layer: Layer, writer: NodeWriter) -> None:
    """Write a Split into the sizes of the tops."""
    (bottom,) = layer.bottoms
    axis = _axis(layer.parameters.slice_param, bottom.shape)
    sizes = [int(top.shape[axis]) for top in layer.tops]
    writer.node(
        "Split",
        [bottom.name, writer.integers(f"{layer.name}.sizes", sizes)],
        [top.name for top in layer.tops],
        name=layer.name,
        axis=axis,
    )


def _axis(slicing: SliceParameter, shape: Shape) -> int:
    if slicing.HasField("axis") and slicing.HasField("slice_dim"):
        raise LayerError("it sets both axis and slice_dim; keep axis.")
    return canonical_axis(
        slicing.slice_dim if slicing.HasField("slice_dim") else slicing.axis, shape
    )


def _parts(slicing: SliceParameter, length: int, tops: int) -> list[int]:
    points = list(slicing.slice_point)
    if not points:
        if length % tops:
            raise LayerError(f"its axis of {length} does not divide into {tops} equal parts.")
        return [length // tops] * tops
    edges = [0, *points, length]
    parts = [end - start for start, end in pairwise(edges)]
    if len(parts) != tops or min(parts) < 1:
        raise LayerError(
            f"its slice points {points} do not cut an axis of {length} into {tops} parts; give "
            "one point less than tops, in rising order."
        )
    return parts


SPEC = LayerSpec(type="Slice", infer_shapes=infer_shapes, convert=convert_slice, tops=ANY_TOPS)
