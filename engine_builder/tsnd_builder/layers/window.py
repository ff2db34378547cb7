"""Kernel, stride and padding as Convolution and Pooling layers give them."""

from typing import NamedTuple

from google.protobuf.message import Message

from tsnd.caffe.net_pb2 import ConvolutionParameter, PoolingParameter
from tsnd_builder.errors import LayerError


class Pair(NamedTuple):
    """A setting per axis: along the height, along the width."""

    h: int
    w: int


class Window(NamedTuple):
    """How a window moves over an image, in pixels."""

    kernel: Pair
    stride: Pair
    pad: Pair


def read_window(parameters: ConvolutionParameter | PoolingParameter) -> Window:
    """Read the window's settings by Caffe's rule: the square form, or both of a pair.

    Raises:
        LayerError: When one of a pair is missing, both forms are mixed, or a kernel or
            stride is zero (Caffe base_conv_layer.cpp and pooling_layer.cpp, LayerSetUp).
    """
    window = Window(
        kernel=_pair(parameters, "kernel_size", "kernel_h", "kernel_w"),
        stride=_pair(parameters, "stride", "stride_h", "stride_w"),
        pad=_pair(parameters, "pad", "pad_h", "pad_w"),
    )
    if 0 in window.kernel:
        raise LayerError("its kernel is not set: give kernel_size, or kernel_h and kernel_w.")
    if 0 in window.stride:
        raise LayerError("its stride is 0; it must be at least 1.")
    return window


def _pair(parameters: Message, square: str, height: str, width: str) -> Pair:
    has_height, has_width = parameters.HasField(height), parameters.HasField(width)
    if not has_height and not has_width:
        return Pair(getattr(parameters, square), getattr(parameters, square))
    if not (has_height and has_width) or parameters.HasField(square):
        raise LayerError(f"it must set either {square}, or both {height} and {width}.")
    return Pair(getattr(parameters, height), getattr(parameters, width))
