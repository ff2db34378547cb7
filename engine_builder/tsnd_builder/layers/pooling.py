"""Pooling: MAX and AVE with Caffe's own idea of rounding and of what padding counts.

ONNX's `ceil_mode` looks like it, but runtimes disagree on it: ONNX Runtime 1.16 and 1.32
give different sizes and different averages. So the graph uses floor mode with explicit
pads, for which all agree. It needs a known image size, which a deploy net has.
"""

from collections.abc import Sequence

import numpy as np

from tsnd.caffe.net_pb2 import LayerParameter, PoolingParameter
from tsnd_builder.caffe.graph import Layer, Shape, Value
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec, fixed_dims
from tsnd_builder.layers.window import Pair, Window, read_window
from tsnd_builder.onnx_writer import NodeWriter

_MAX, _AVE = PoolingParameter.MAX, PoolingParameter.AVE


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give [N, C, H, W] its pooled size."""
    (bottom,) = bottoms
    pool = parameters.pooling_param
    if len(bottom) != 4:
        raise LayerError(f"its bottom has shape {list(bottom)}; pooling takes 4 axes.")
    if pool.pool not in (_MAX, _AVE):
        raise LayerError("STOCHASTIC pooling has no deterministic forward pass; use MAX or AVE.")
    if pool.global_pooling:
        _check_global(pool)
        return [(*bottom[:2], 1, 1)]
    return [(*bottom[:2], *_pooled_size(image_of(bottom), _read(pool)))]


def pooled_length(length: int, kernel: int, stride: int, pad: int, *, clips: bool) -> int:
    """Return the number of windows along one axis (pooling_layer.cpp, Reshape).

    Args:
        length: Pixels of the input.
        kernel: Pixels of the window.
        stride: Pixels from one window to the next.
        pad: Pixels added on either side.
        clips: Whether the last window must start inside the image or its front padding;
            so it is when either axis is padded.

    Returns:
        Windows, rounded up in float32 as Caffe does; less than 1 when none fits.
    """
    out = int(np.ceil(np.float32(length + 2 * pad - kernel) / np.float32(stride))) + 1
    if clips and (out - 1) * stride >= length + pad:
        out -= 1
    return out


def overhang(length: int, kernel: int, stride: int, pad: int, out: int) -> int:
    """Return how many pixels the last window reaches beyond the padded image."""
    return max(0, (out - 1) * stride + kernel - (length + 2 * pad))


def convert_pooling(layer: Layer, writer: NodeWriter) -> None:
    """Write a pool in floor mode whose end pads make up Caffe's rounding."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    pool = layer.parameters.pooling_param
    is_max = pool.pool == _MAX
    if pool.global_pooling:
        op_type = "GlobalMaxPool" if is_max else "GlobalAveragePool"
        writer.node(op_type, [bottom.name], top.name, name=layer.name)
        return
    out = image_of(top.shape)
    write_pool(writer, bottom, top.name, _read(pool), out, is_max=is_max, name=layer.name)


def write_pool(
    writer: NodeWriter,
    bottom: Value,
    top: str,
    window: Window,
    out: Pair,
    *,
    is_max: bool,
    name: str,
) -> None:
    """Write a pool by Caffe's rules.

    Args:
        writer: Where to.
        bottom: What it reads, [N, C, H, W].
        top: Name of what it writes.
        window: Kernel, stride and pad.
        out: Windows along height and width.
        is_max: MAX, else AVE.
        name: Name of the node.
    """
    pad, source = window.pad, bottom.name
    lengths = zip(image_of(bottom.shape), *window, out, strict=True)
    over = Pair(*(overhang(*axis) for axis in lengths))
    common = {"kernel_shape": list(window.kernel), "strides": list(window.stride)}
    if is_max:  # padding never wins a maximum, so the overhang is just more of it
        pads = [*pad, pad.h + over.h, pad.w + over.w]
        writer.node("MaxPool", [source], top, name=name, pads=pads, **common)
        return
    # Caffe's divisor counts the padding but not the overhang. Without overhang that is a
    # plain AveragePool over its own pads. With it, zeros that count come from a Pad, and
    # the overhang from pads that do not count.
    pads, counts = [*pad, *pad], 1
    if any(over):
        pads, counts = [0, 0, *over], 0
        if any(pad):
            amounts = writer.integers(f"{name}.pads", [0, 0, *pad, 0, 0, *pad])
            padded = writer.fresh(f"{name}/padded")
            source = writer.node("Pad", [source, amounts], padded, name=f"{name}/pad")
    writer.node(
        "AveragePool", [source], top, name=name, pads=pads, count_include_pad=counts, **common
    )


def _read(pool: PoolingParameter) -> Window:
    window = read_window(pool)
    if window.pad.h >= window.kernel.h or window.pad.w >= window.kernel.w:
        raise LayerError(
            f"its pad {tuple(window.pad)} must be smaller than its kernel {tuple(window.kernel)}."
        )
    return window


def _check_global(pool: PoolingParameter) -> None:
    given = {field.name: value for field, value in pool.ListFields()}
    set_anyway = [name for name in given if name.startswith("kernel")]
    set_anyway += [name for name in given if name.startswith("pad") and given[name] != 0]
    set_anyway += [name for name in given if name.startswith("stride") and given[name] != 1]
    if set_anyway:
        raise LayerError(f"global_pooling takes the whole image; remove {', '.join(set_anyway)}.")


def image_of(shape: Shape) -> Pair:
    """Return height and width of [N, C, H, W]."""
    return Pair(*fixed_dims(shape, 2))


def _pooled_size(image: Pair, window: Window) -> Pair:
    out = Pair(
        *(pooled_length(*axis, clips=any(window.pad)) for axis in zip(image, *window, strict=True))
    )
    if min(out) < 1:
        raise LayerError(
            f"its kernel {tuple(window.kernel)} does not fit the image {tuple(image)}."
        )
    starts = [(n - 1) * s - p for n, s, p in zip(out, window.stride, window.pad, strict=True)]
    if starts[0] >= image.h or starts[1] >= image.w:
        raise LayerError(
            f"its last window starts at {tuple(starts)}, outside the image {tuple(image)}: Caffe "
            "yields -FLT_MAX (MAX) or NaN (AVE) there. Use a stride no larger than the kernel."
        )
    return out


SPEC = LayerSpec(type="Pooling", infer_shapes=infer_shapes, convert=convert_pooling)
