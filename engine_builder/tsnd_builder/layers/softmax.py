"""Softmax along one axis, the maximum subtracted first."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import BatchDependent
from tsnd_builder.layers.spec import LayerSpec, canonical_axis
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; the axis must exist and must not be the batch."""
    (bottom,) = bottoms
    axis = canonical_axis(parameters.softmax_param.axis, bottom)
    if isinstance(bottom[axis], str):
        raise BatchDependent(f"its axis {axis} is the batch, so each row depends on the others.")
    return bottoms


def convert_softmax(layer: Layer, writer: NodeWriter) -> None:
    """Write a Softmax; from opset 13 on its axis means what Caffe's does."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    axis = canonical_axis(layer.parameters.softmax_param.axis, bottom.shape)
    writer.node("Softmax", [bottom.name], top.name, name=layer.name, axis=axis)


SPEC = LayerSpec(type="Softmax", infer_shapes=infer_shapes, convert=convert_softmax, in_place=True)
