"""ReLU: max(x, 0) + negative_slope * min(x, 0)."""

from tsnd_builder.caffe.graph import Layer
from tsnd_builder.layers.spec import LayerSpec, same_shapes
from tsnd_builder.onnx_writer import NodeWriter


def convert_relu(layer: Layer, writer: NodeWriter) -> None:
    """Write a Relu, or a LeakyRelu when the negative side has a slope."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    slope = layer.parameters.relu_param.negative_slope
    if slope:
        writer.node("LeakyRelu", [bottom.name], top.name, name=layer.name, alpha=slope)
    else:
        writer.node("Relu", [bottom.name], top.name, name=layer.name)


SPEC = LayerSpec(type="ReLU", infer_shapes=same_shapes, convert=convert_relu, in_place=True)
