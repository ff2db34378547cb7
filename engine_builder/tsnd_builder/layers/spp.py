"""SPP, spatial pyramid pooling: pools into 1, 4, 16 ... bins and joins them into one row."""

import math
from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter, SPPParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.pooling import image_of, pooled_length, write_pool
from tsnd_builder.layers.reshaping import write_reshape
from tsnd_builder.layers.spec import LayerSpec, fixed_dims
from tsnd_builder.layers.window import Pair, Window
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give one row per image; a pyramid of one level stays an image (spp_layer.cpp)."""
    (bottom,) = bottoms
    spp = parameters.spp_param
    if len(bottom) != 4:
        raise LayerError(f"its bottom has shape {list(bottom)}; SPP takes 4 axes.")
    if spp.pool == SPPParameter.STOCHASTIC:
        raise LayerError("STOCHASTIC pooling has no deterministic forward pass; use MAX or AVE.")
    if spp.pyramid_height < 1:
        raise LayerError("pyramid_height is not set; it must be at least 1.")
    (channels,) = fixed_dims(bottom[1:2], 0)
    if spp.pyramid_height == 1:
        return [(*bottom[:2], 1, 1)]
    bins = sum(math.prod(_level(bottom, level)[1]) for level in range(spp.pyramid_height))
    return [(bottom[0], channels * bins)]


def convert_spp(layer: Layer, writer: NodeWriter) -> None:
    """Write a pool and a Reshape per level, and a Concat."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    spp = layer.parameters.spp_param
    is_max = spp.pool == SPPParameter.MAX
    if spp.pyramid_height == 1:
        window, out = _level(bottom.shape, 0)
        write_pool(writer, bottom, top.name, window, out, is_max=is_max, name=layer.name)
        return
    rows = []
    for level in range(spp.pyramid_height):
        name = f"{layer.name}/level{level}"
        window, out = _level(bottom.shape, level)
        pooled, row = writer.fresh(name), writer.fresh(f"{name}/row")
        write_pool(writer, bottom, pooled, window, out, is_max=is_max, name=name)
        (channels,) = fixed_dims(bottom.shape[1:2], 0)
        shape = (bottom.shape[0], channels * math.prod(out))
        rows.append(write_reshape(writer, pooled, shape, row, name=f"{name}/row"))
    writer.node("Concat", rows, top.name, name=layer.name, axis=1)


def _level(bottom: Shape, level: int) -> tuple[Window, Pair]:
    """Return the window of a level with 2 ** level bins a side, and its bins (GetPoolingParam).

    Raises:
        LayerError: When the image is too small for so many bins.
    """
    bins, image = 2**level, image_of(bottom)
    kernel = Pair(*(math.ceil(length / bins) for length in image))
    pad = Pair(*((k * bins - length + 1) // 2 for k, length in zip(kernel, image, strict=True)))
    if pad.h >= kernel.h or pad.w >= kernel.w:
        raise LayerError(
            f"its image of {tuple(image)} is too small for {bins} x {bins} bins; lower "
            "pyramid_height."
        )
    window = Window(kernel, kernel, pad)
    axes = zip(image, *window, strict=True)
    return window, Pair(*(pooled_length(*axis, clips=any(pad)) for axis in axes))


SPEC = LayerSpec(type="SPP", infer_shapes=infer_shapes, convert=convert_spp)
