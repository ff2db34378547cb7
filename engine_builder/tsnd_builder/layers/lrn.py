"""LRN: local response normalization across channels, or within each channel."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter, LRNParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; the window must have a middle."""
    (bottom,) = bottoms
    if len(bottom) != 4:
        raise LayerError(f"its bottom has shape {list(bottom)}; LRN takes 4 axes.")
    if parameters.lrn_param.local_size % 2 == 0:
        raise LayerError(f"its local_size is {parameters.lrn_param.local_size}; it must be odd.")
    return bottoms


def convert_lrn(layer: Layer, writer: NodeWriter) -> None:
    """Write an LRN, whose formula across channels is Caffe's; within channels spell it out."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    lrn = layer.parameters.lrn_param
    if lrn.norm_region == LRNParameter.WITHIN_CHANNEL:
        _write_within_channel(layer, writer)
        return
    writer.node(
        "LRN",
        [bottom.name],
        top.name,
        name=layer.name,
        size=lrn.local_size,
        alpha=lrn.alpha,
        beta=lrn.beta,
        bias=lrn.k,
    )


def _write_within_channel(layer: Layer, writer: NodeWriter) -> None:
    """Write x * (1 + alpha * mean of squares) ** -beta; the mean counts padding, k is ignored."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    lrn = layer.parameters.lrn_param
    size, pad = lrn.local_size, (lrn.local_size - 1) // 2
    square, mean, factor = (
        writer.fresh(f"{layer.name}/{key}") for key in ("square", "mean", "factor")
    )
    writer.node("Mul", [bottom.name] * 2, square, name=f"{layer.name}/square")
    writer.node(
        "AveragePool",
        [square],
        mean,
        name=f"{layer.name}/mean",
        kernel_shape=[size, size],
        pads=[pad] * 4,
        count_include_pad=1,
    )
    steps = [("Mul", "alpha", lrn.alpha), ("Add", "one", 1.0), ("Pow", "minus_beta", -lrn.beta)]
    operands = [(op, writer.floats(f"{layer.name}.{key}", value)) for op, key, value in steps]
    writer.chain(mean, operands, factor, name=f"{layer.name}/factor")
    writer.node("Mul", [bottom.name, factor], top.name, name=layer.name)


SPEC = LayerSpec(type="LRN", infer_shapes=infer_shapes, convert=convert_lrn)
