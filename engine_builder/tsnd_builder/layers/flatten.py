"""Flatten: makes one axis of several."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.reshaping import infer_dim, write_reshape
from tsnd_builder.layers.spec import LayerSpec, canonical_axis
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Join the axes from `axis` to `end_axis`, both included."""
    (bottom,) = bottoms
    start = canonical_axis(parameters.flatten_param.axis, bottom)
    end = canonical_axis(parameters.flatten_param.end_axis, bottom)
    if end < start:
        raise LayerError(f"its axis {start} lies behind its end_axis {end}.")
    kept = (*bottom[:start], *bottom[end + 1 :])
    return [(*bottom[:start], infer_dim(bottom, kept), *bottom[end + 1 :])]


def convert_flatten(layer: Layer, writer: NodeWriter) -> None:
    """Write a Reshape."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    write_reshape(writer, bottom.name, top.shape, top.name, name=layer.name)


SPEC = LayerSpec(
    type="Flatten", infer_shapes=infer_shapes, convert=convert_flatten, shares_storage=True
)
