"""Bias: adds a learned summand or a second bottom."""

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
    check_operand(parameters.bias_param, bottoms)
    return [bottoms[0]]


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """The summand, unless it is the second bottom."""
    return [learned_shape(parameters.bias_param, bottoms)] if len(bottoms) == 1 else []


def scale_and_shift(
    layer: Layer,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return the layer as y = x + shift per channel; None when it is not."""
    if not is_per_channel(layer, layer.parameters.bias_param):
        return None
    shift = layer.blobs[0].astype(np.float64)
    return np.ones_like(shift), shift


def convert_bias(layer: Layer, writer: NodeWriter) -> None:
    """Write an Add."""
    bias = layer.parameters.bias_param
    if len(layer.bottoms) == 2:
        operand = write_second_bottom(layer, bias, writer)
    else:
        operand = write_operand(layer, bias, 0, writer)
    writer.node("Add", [layer.bottoms[0].name, operand], layer.tops[0].name, name=layer.name)


SPEC = LayerSpec(
    type="Bias",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_bias,
    scale_and_shift=scale_and_shift,
    in_place=True,
    bottoms=(1, 2),
)
