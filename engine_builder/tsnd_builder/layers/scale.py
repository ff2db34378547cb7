"""Scale: multiplies by a learned factor or by a second bottom, and may add a learned bias."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.layers.broadcasting import (
    check_operand,
    is_per_channel,
    learned_shape,
    write_operand,
    write_second_bottom,
)
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Keep the first bottom's shape."""
    check_operand(parameters.scale_param, bottoms)
    return [bottoms[0]]


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """The factor, unless it is the second bottom, and the bias, if there is one."""
    scale = parameters.scale_param
    count = (len(bottoms) == 1) + scale.bias_term
    return [learned_shape(scale, bottoms)] * count if count else []


def scale_and_shift(
    layer: Layer,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return the layer as y = scale * x + shift per channel; None when it is not."""
    if not is_per_channel(layer, layer.parameters.scale_param):
        return None
    scale, *bias = (blob.astype(np.float64) for blob in layer.blobs)
    return scale, bias[0] if bias else np.zeros_like(scale)


def convert_scale(layer: Layer, writer: NodeWriter) -> None:
    """Write a Mul, and an Add if there is a bias."""
    scale = layer.parameters.scale_param
    (top,) = layer.tops
    if len(layer.bottoms) == 2:
        operands = [("Mul", write_second_bottom(layer, scale, writer))]
    else:
        operands = [("Mul", write_operand(layer, scale, 0, writer))]
    if scale.bias_term:
        operands.append(("Add", write_operand(layer, scale, len(layer.blobs) - 1, writer)))
    writer.chain(layer.bottoms[0].name, operands, top.name, name=layer.name)


SPEC = LayerSpec(
    type="Scale",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_scale,
    scale_and_shift=scale_and_shift,
    in_place=True,
    bottoms=(1, 2),
)
