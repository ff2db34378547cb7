"""Log: log(shift + scale * x) to a base; base -1, the default, stands for e."""

import math
from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter, LogParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; refuse a base that has no logarithm."""
    _log_of_base(parameters.log_param)
    return bottoms


def convert_log(layer: Layer, writer: NodeWriter) -> None:
    """Write the affine part, a Log, and the division by the base's logarithm."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    log = layer.parameters.log_param
    source = bottom.name
    for op, key, value, neutral in (
        ("Mul", "scale", log.scale, 1.0),
        ("Add", "shift", log.shift, 0.0),
    ):
        if value != neutral:
            operand = writer.floats(f"{layer.name}.{key}", value)
            result = writer.fresh(f"{layer.name}/{key}")
            source = writer.node(op, [source, operand], result, name=f"{layer.name}/{key}")
    log_of_base = _log_of_base(log)
    if log_of_base == 1.0:
        writer.node("Log", [source], top.name, name=layer.name)
        return
    natural = writer.fresh(f"{layer.name}/natural")
    writer.node("Log", [source], natural, name=layer.name)
    factor = writer.floats(f"{layer.name}.factor", 1.0 / log_of_base)
    writer.node("Mul", [natural, factor], top.name, name=f"{layer.name}/base")


def _log_of_base(log: LogParameter) -> float:
    if log.base == -1:
        return 1.0
    if log.base <= 0 or log.base == 1:
        raise LayerError(f"its base is {log.base:g}; it must be positive and not 1, or -1 for e.")
    return math.log(log.base)


SPEC = LayerSpec(type="Log", infer_shapes=infer_shapes, convert=convert_log, in_place=True)
