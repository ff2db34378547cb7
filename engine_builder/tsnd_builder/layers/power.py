"""Power: (shift + scale * x) ** power."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from tsnd.caffe.net_pb2 import LayerParameter, PowerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; a constant result must be a number."""
    power = parameters.power_param
    if _is_constant(power):
        _constant(power)
    return bottoms


def convert_power(layer: Layer, writer: NodeWriter) -> None:
    """Write the Mul, Add and Pow that change something; or a constant of the same shape."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    power = layer.parameters.power_param
    if _is_constant(power):
        shape = writer.fresh(f"{layer.name}/shape")
        writer.node("Shape", [bottom.name], shape, name=f"{layer.name}/shape")
        writer.node(
            "ConstantOfShape", [shape], top.name, name=layer.name, value=_tensor(_constant(power))
        )
        return
    steps = [
        ("Mul", "scale", power.scale, power.scale != 1.0),
        ("Add", "shift", power.shift, power.shift != 0.0),
        ("Pow", "power", power.power, power.power != 1.0),
    ]
    writer.chain(
        bottom.name,
        [
            (op, writer.floats(f"{layer.name}.{key}", value))
            for op, key, value, is_on in steps
            if is_on
        ],
        top.name,
        name=layer.name,
    )


def _is_constant(power: PowerParameter) -> bool:
    """Caffe takes x out of account when scale * power is 0 (power_layer.cpp)."""
    return power.scale * power.power == 0.0


def _constant(power: PowerParameter) -> float:
    with np.errstate(all="ignore"):
        value = np.float32(power.shift) ** np.float32(power.power)
    if not np.isfinite(value):
        raise LayerError(
            f"it is the constant {power.shift:g} ** {power.power:g}, which is not a finite number."
        )
    return float(value)


def _tensor(value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array([value], np.float32))


SPEC = LayerSpec(type="Power", infer_shapes=infer_shapes, convert=convert_power, in_place=True)
