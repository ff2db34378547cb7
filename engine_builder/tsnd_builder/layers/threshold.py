"""Threshold: 1 where x is above the threshold, else 0."""

from onnx import TensorProto

from tsnd_builder.caffe.graph import Layer
from tsnd_builder.layers.spec import LayerSpec, same_shapes
from tsnd_builder.onnx_writer import NodeWriter


def convert_threshold(layer: Layer, writer: NodeWriter) -> None:
    """Write a Greater and a Cast."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    limit = writer.floats(f"{layer.name}.threshold", layer.parameters.threshold_param.threshold)
    above = writer.fresh(f"{layer.name}/above")
    writer.node("Greater", [bottom.name, limit], above, name=f"{layer.name}/greater")
    writer.node("Cast", [above], top.name, name=layer.name, to=TensorProto.FLOAT)


SPEC = LayerSpec(
    type="Threshold", infer_shapes=same_shapes, convert=convert_threshold, in_place=True
)
