"""Eltwise: product, weighted sum or maximum of bottoms of one shape."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import EltwiseParameter, LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import NodeWriter

_SUMS = (EltwiseParameter.SUM, EltwiseParameter.STOCHASTIC_SUM)


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Keep the shape, which all bottoms must have; coefficients belong to sums only."""
    eltwise = parameters.eltwise_param
    if any(bottom != bottoms[0] for bottom in bottoms):
        shapes = ", ".join(str(list(bottom)) for bottom in bottoms)
        raise LayerError(f"its bottoms have the shapes {shapes}; they must be the same.")
    if eltwise.coeff and eltwise.operation not in _SUMS:
        raise LayerError("it has coefficients, which only a sum takes.")
    if eltwise.coeff and len(eltwise.coeff) != len(bottoms):
        raise LayerError(f"it has {len(eltwise.coeff)} coefficients for {len(bottoms)} bottoms.")
    return [bottoms[0]]


def convert_eltwise(layer: Layer, writer: NodeWriter) -> None:
    """Write the operation; a STOCHASTIC_SUM is a plain sum in the TEST phase."""
    (top,) = layer.tops
    eltwise = layer.parameters.eltwise_param
    names = [bottom.name for bottom in layer.bottoms]
    if eltwise.operation in _SUMS:
        coefficients = eltwise.coeff or [1.0] * len(names)
        names = [
            _scaled(layer.name, index, name, coefficient, writer)
            for index, (name, coefficient) in enumerate(zip(names, coefficients, strict=True))
        ]
        writer.node("Sum", names, top.name, name=layer.name)
    elif eltwise.operation == EltwiseParameter.MAX:
        writer.node("Max", names, top.name, name=layer.name)
    else:
        writer.chain(names[0], [("Mul", name) for name in names[1:]], top.name, name=layer.name)


def _scaled(layer: str, index: int, source: str, coefficient: float, writer: NodeWriter) -> str:
    if coefficient == 1.0:
        return source
    factor = writer.floats(f"{layer}.coeff{index}", coefficient)
    result = writer.fresh(f"{layer}/term{index}")
    return writer.node("Mul", [source, factor], result, name=f"{layer}/scale{index}")


SPEC = LayerSpec(
    type="Eltwise",
    infer_shapes=infer_shapes,
    convert=convert_eltwise,
    bottoms=(2, float("inf")),
)
