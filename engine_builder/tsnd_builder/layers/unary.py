"""What layer types share that apply one ONNX operator to each element."""

from tsnd_builder.caffe.graph import Layer
from tsnd_builder.layers.spec import LayerSpec, same_shapes
from tsnd_builder.onnx_writer import NodeWriter


def unary_spec(layer_type: str, operator: str) -> LayerSpec:
    """Describe a layer type without settings that is an ONNX operator of its own."""

    def convert(layer: Layer, writer: NodeWriter) -> None:
        (bottom,), (top,) = layer.bottoms, layer.tops
        writer.node(operator, [bottom.name], top.name, name=layer.name)

    return LayerSpec(type=layer_type, infer_shapes=same_shapes, convert=convert, in_place=True)
