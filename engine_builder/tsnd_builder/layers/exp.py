"""Exp: base ** (shift + scale * x); base -1, the default, stands for e."""

import math
from collections.abc import Sequence

import numpy as np

from tsnd.caffe.net_pb2 import ExpParameter, LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; refuse a base that Caffe refuses or a factor that is no number."""
    _factors(parameters.exp_param)
    return bottoms


def convert_exp(layer: Layer, writer: NodeWriter) -> None:
    """Write outer * exp(inner * x)."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    inner, outer = _factors(layer.parameters.exp_param)
    source = bottom.name
    if inner != 1.0:
        factor = writer.floats(f"{layer.name}.inner", inner)
        scaled = writer.fresh(f"{layer.name}/scaled")
        source = writer.node("Mul", [source, factor], scaled, name=f"{layer.name}/scale")
    if outer == 1.0:
        writer.node("Exp", [source], top.name, name=layer.name)
        return
    raised = writer.fresh(f"{layer.name}/raised")
    writer.node("Exp", [source], raised, name=layer.name)
    factor = writer.floats(f"{layer.name}.outer", outer)
    writer.node("Mul", [raised, factor], top.name, name=f"{layer.name}/factor")


def _factors(exp: ExpParameter) -> tuple[float, float]:
    """Return the factors inside and outside of exp.

    The fork raises the base itself to the shift, -1 where e is meant: so with the default
    base the shift is lost, or turns the sign (exp_layer.cpp, LayerSetUp). What it computes
    is kept, for the weights were trained with it; where it is no number it is refused.
    """
    if exp.base <= 0 and exp.base != -1:
        raise LayerError(f"its base is {exp.base:g}; it must be positive, or -1 for e.")
    if exp.base == -1 and not exp.shift.is_integer():
        raise LayerError(
            f"with the default base this branch of Caffe computes (-1) ** {exp.shift:g} for the "
            "shift, which is NaN. Give base: 2.718281828, which means the same."
        )
    with np.errstate(all="ignore"):
        outer = np.float32(exp.base) ** np.float32(exp.shift)
    if not np.isfinite(outer):
        raise LayerError(
            f"its constant factor {exp.base:g} ** {exp.shift:g} is not a finite number."
        )
    log_base = 1.0 if exp.base == -1 else math.log(exp.base)
    return log_base * exp.scale, float(outer)


SPEC = LayerSpec(type="Exp", infer_shapes=infer_shapes, convert=convert_exp, in_place=True)
