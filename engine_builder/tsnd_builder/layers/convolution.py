"""Convolution: cross-correlation with groups and dilation; bottoms share the weights."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import ConvolutionParameter, LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import PER_BOTTOM, LayerSpec, fixed_dims
from tsnd_builder.layers.window import Pair, read_window
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give each bottom [N, C, H, W] its top [N, num_output, H', W'].

    The size is floor((in + 2 pad - (dilation (kernel - 1) + 1)) / stride) + 1
    (Caffe conv_layer.cpp, compute_output_shape).
    """
    return [_top_shape(parameters.convolution_param, bottom, bottoms[0]) for bottom in bottoms]


def _top_shape(conv: ConvolutionParameter, bottom: Shape, first: Shape) -> Shape:
    height, width = checked_image(conv, bottom, first)
    window, dilation = read_window(conv), _dilation(conv)
    size = tuple(
        (length + 2 * pad - (d * (kernel - 1) + 1)) // stride + 1
        for length, kernel, stride, pad, d in zip((height, width), *window, dilation, strict=True)
    )
    if min(size) < 1:
        raise LayerError(
            f"its kernel {tuple(window.kernel)} is larger than its padded input "
            f"{height} x {width} (height x width)."
        )
    return (bottom[0], conv.num_output, *size)


def checked_image(conv: ConvolutionParameter, bottom: Shape, first: Shape) -> tuple[int, int]:
    """Check a bottom against the layer's channels and groups; returns its height and width.

    Args:
        conv: The settings.
        bottom: A bottom, [N, C, H, W].
        first: The layer's first bottom, which the others must be like.

    Raises:
        LayerError: When they do not fit.
    """
    if len(bottom) != 4:
        raise LayerError(f"its bottom has shape {list(bottom)}; this layer takes 4 axes.")
    if bottom[1:] != first[1:]:
        raise LayerError(f"its bottoms differ in shape: {list(first)} and {list(bottom)}.")
    channels, height, width = fixed_dims(bottom, 1)
    if conv.num_output < 1:
        raise LayerError("num_output is not set; it must be at least 1.")
    if conv.group < 1 or channels % conv.group or conv.num_output % conv.group:
        raise LayerError(
            f"group {conv.group} must divide its {channels} input channels "
            f"and num_output {conv.num_output}."
        )
    return height, width


def blob_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """Weight [num_output, C / group, kernel_h, kernel_w], then bias [num_output]."""
    conv = parameters.convolution_param
    channels = fixed_dims(bottoms[0], 1)[0]
    weight = (conv.num_output, channels // conv.group, *read_window(conv).kernel)
    return [weight, (conv.num_output,)] if conv.bias_term else [weight]


def convert_convolution(layer: Layer, writer: NodeWriter) -> None:
    """Write one Conv per bottom, all with the same weights."""
    conv = layer.parameters.convolution_param
    window = read_window(conv)
    names = ["weight", "bias"]
    weights = [
        writer.floats(f"{layer.name}.{name}", blob)
        for name, blob in zip(names, layer.blobs, strict=False)
    ]
    for bottom, top in zip(layer.bottoms, layer.tops, strict=True):
        writer.node(
            "Conv",
            [bottom.name, *weights],
            top.name,
            name=layer.name,
            kernel_shape=list(window.kernel),
            strides=list(window.stride),
            pads=[*window.pad, *window.pad],
            dilations=list(_dilation(conv)),
            group=conv.group,
        )


def _dilation(conv: ConvolutionParameter) -> Pair:
    """Read the dilation; dilation_h and dilation_w win over dilation."""
    if conv.HasField("dilation_h") != conv.HasField("dilation_w"):
        raise LayerError(
            "it sets one of dilation_h and dilation_w; Caffe then takes the other as 0, which "
            "collapses the kernel. Set both."
        )
    if conv.HasField("dilation_h"):
        dilation = Pair(conv.dilation_h, conv.dilation_w)
    else:
        dilation = Pair(conv.dilation, conv.dilation)
    if 0 in dilation:
        raise LayerError("its dilation is 0; it must be at least 1.")
    return dilation


SPEC = LayerSpec(
    type="Convolution",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    convert=convert_convolution,
    bottoms=(1, float("inf")),
    tops=PER_BOTTOM,
)
