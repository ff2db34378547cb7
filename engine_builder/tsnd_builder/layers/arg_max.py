"""ArgMax: the positions of the k largest values of each row, and on request the values."""

from collections.abc import Sequence

from onnx import TensorProto

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.reshaping import write_reshape
from tsnd_builder.layers.spec import LayerSpec, fixed_size
from tsnd_builder.onnx_writer import NodeWriter


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give [N, 1, k, 1], or [N, 2, k, 1] with the values behind the positions."""
    (bottom,) = bottoms
    arg_max = parameters.argmax_param
    length = fixed_size(bottom, 1)
    if not 1 <= arg_max.top_k <= length:
        raise LayerError(f"its top_k {arg_max.top_k} must be from 1 to the row's length {length}.")
    return [(bottom[0], 2 if arg_max.out_max_val else 1, arg_max.top_k, 1)]


def convert_arg_max(layer: Layer, writer: NodeWriter) -> None:
    """Write a TopK over reversed rows.

    Of equal values Caffe takes the one behind first, ONNX the one in front.
    """
    (bottom,), (top,) = layer.bottoms, layer.tops
    name, arg_max = layer.name, layer.parameters.argmax_param
    length = fixed_size(bottom.shape, 1)
    rows, backward, values, ranks, positions, numbers = (
        writer.fresh(f"{name}/{key}")
        for key in ("rows", "backward", "values", "ranks", "positions", "numbers")
    )
    write_reshape(writer, bottom.name, (bottom.shape[0], length), rows, name=f"{name}/rows")
    bounds = [
        writer.integers(f"{name}.{key}", [value])
        for key, value in (("start", -1), ("end", -length - 1), ("axis", 1), ("step", -1))
    ]
    writer.node("Slice", [rows, *bounds], backward, name=f"{name}/backward")
    count = writer.integers(f"{name}.k", [arg_max.top_k])
    writer.node("TopK", [backward, count], [values, ranks], name=f"{name}/top", axis=1)
    last = writer.integers(f"{name}.last", [length - 1])
    writer.node("Sub", [last, ranks], positions, name=f"{name}/positions")
    writer.node("Cast", [positions], numbers, name=f"{name}/numbers", to=TensorProto.FLOAT)
    if arg_max.out_max_val:
        both = writer.fresh(f"{name}/both")
        writer.node("Concat", [numbers, values], both, name=f"{name}/both", axis=1)
        numbers = both
    write_reshape(writer, numbers, top.shape, top.name, name=name)


SPEC = LayerSpec(type="ArgMax", infer_shapes=infer_shapes, convert=convert_arg_max)
