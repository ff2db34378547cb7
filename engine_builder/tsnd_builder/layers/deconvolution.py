"""Deconvolution: the transpose of a convolution; bottoms share the weights."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import ConvolutionParameter, LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.convolution import checked_image
from tsnd_builder.layers.spec import PER_BOTTOM, LayerSpec, fixed_dims
from tsnd_builder.layers.window import read_window
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give each bottom [N, C, H, W] its top [N, num_output, H', W'].

    The size is stride (in - 1) + kernel - 2 pad (deconv_layer.cpp, compute_output_shape).
    """
    return [_top_shape(parameters.convolution_param, bottom, bottoms[0]) for bottom in bottoms]


def _top_shape(conv: ConvolutionParameter, bottom: Shape, first: Shape) -> Shape:
    height, width = checked_image(conv, bottom, first)
    if {conv.dilation, conv.dilation_h or 1, conv.dilation_w or 1} != {1}:
        raise LayerError("it is dilated, which Caffe leaves out of account in its output's size.")
    window = read_window(conv)
    size = tuple(
        stride * (length - 1) + kernel - 2 * pad
        for length, kernel, stride, pad in zip((height, width), *window, strict=True)
    )
    if min(size) < 1:
        raise LayerError(f"its pad {tuple(window.pad)} leaves nothing of its output.")
    return (bottom[0], conv.num_output, *size)


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """Weight [C, num_output / group, kernel_h, kernel_w], then bias [num_output]."""
    conv = parameters.convolution_param
    channels = fixed_dims(bottoms[0], 1)[0]
    weight = (channels, conv.num_output // conv.group, *read_window(conv).kernel)
    return [weight, (conv.num_output,)] if conv.bias_term else [weight]


def convert_deconvolution(layer: Layer, writer: NodeWriter) -> None:
    """Write one ConvTranspose per bottom, all with the same weights."""
    conv = layer.parameters.convolution_param
    window = read_window(conv)
    weights = [
        writer.floats(f"{layer.name}.{name}", blob)
        for name, blob in zip(["weight", "bias"], layer.blobs, strict=False)
    ]
    for bottom, top in zip(layer.bottoms, layer.tops, strict=True):
        writer.node(
            "ConvTranspose",
            [bottom.name, *weights],
            top.name,
            name=layer.name,
            kernel_shape=list(window.kernel),
            strides=list(window.stride),
            pads=[*window.pad, *window.pad],
            group=conv.group,
        )


SPEC = LayerSpec(
    type="Deconvolution",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_deconvolution,
    bottoms=(1, float("inf")),
    tops=PER_BOTTOM,
)
