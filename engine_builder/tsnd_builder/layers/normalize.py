"""Normalize, a layer of the fork: divides each row by its Euclidean length, without eps."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(_parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape."""
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise LayerError(f"its bottom has shape {list(bottom)}; it needs rows to normalize.")
    return bottoms


def convert_normalize(layer: Layer, writer: NodeWriter) -> None:
    """Write ReduceL2 over all axes but the batch, and Div."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    length = writer.fresh(f"{layer.name}/length")
    axes = list(range(1, len(bottom.shape)))
    writer.node("ReduceL2", [bottom.name], length, name=f"{layer.name}/length", axes=axes)
    writer.node("Div", [bottom.name, length], top.name, name=layer.name)


SPEC = LayerSpec(type="Normalize", infer_shapes=infer_shapes, convert=convert_normalize)
