"""How Scale and Bias line up their factor or summand with a range of their bottom's axes."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import BiasParameter, ScaleParameter
from tsnd_builder.caffe.graph import Layer, Shape
from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.layers.reshaping import write_reshape
from tsnd_builder.layers.spec import canonical_axis, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter

Parameters = ScaleParameter | BiasParameter


def check_operand(parameters: Parameters, bottoms: Sequence[Shape]) -> None:
    """Refuse a range of axes that does not exist, or a second bottom of another shape.

    Raises:
        BatchDependent: When they could agree for one batch size.
        LayerError: With both shapes.
    """
    start, end = _range(parameters, bottoms)
    if len(bottoms) == 2 and bottoms[1] != bottoms[0][start:end]:
        message = (
            f"its second bottom {list(bottoms[1])} must have the shape "
            f"{list(bottoms[0][start:end])} of the axes {start} to {end - 1} of its first."
        )
        is_open = any(isinstance(dim, str) for dim in bottoms[0][start:end])
        raise BatchDependent(message) if is_open else LayerError(message)


def learned_shape(parameters: Parameters, bottoms: Sequence[Shape]) -> tuple[int, ...]:
    """Return the shape of a learned operand: [] for a scalar."""
    start, end = _range(parameters, bottoms)
    return fixed_dims(bottoms[0][start:end], 0)


def is_per_channel(layer: Layer, parameters: Parameters) -> bool:
    """Tell whether a layer has one learned operand per channel, which is axis 1."""
    shapes = [bottom.shape for bottom in layer.bottoms]
    return len(shapes) == 1 and _range(parameters, shapes) == (1, 2)


def write_operand(layer: Layer, parameters: Parameters, index: int, writer: NodeWriter) -> str:
    """Write a learned operand so that ONNX broadcasts it over the right axes.

    Args:
        layer: The layer.
        parameters: Its settings.
        index: Which of its blobs.
        writer: Where to.
    """
    shapes = [bottom.shape for bottom in layer.bottoms]
    trailing = len(shapes[0]) - _range(parameters, shapes)[1]
    blob = layer.blobs[index]
    return writer.floats(f"{layer.name}.blob{index}", blob.reshape(*blob.shape, *[1] * trailing))


def write_second_bottom(layer: Layer, parameters: Parameters, writer: NodeWriter) -> str:
    """Write the second bottom so that ONNX broadcasts it over the right axes."""
    shapes = [bottom.shape for bottom in layer.bottoms]
    trailing = len(shapes[0]) - _range(parameters, shapes)[1]
    if not trailing:
        return layer.bottoms[1].name
    shape = (*shapes[1], *[1] * trailing)
    top = writer.fresh(f"{layer.name}/operand")
    return write_reshape(writer, layer.bottoms[1].name, shape, top, name=f"{layer.name}/operand")


def _range(parameters: Parameters, bottoms: Sequence[Shape]) -> tuple[int, int]:
    """Return the first axis and the one behind the last (scale_layer.cpp, LayerSetUp)."""
    first = bottoms[0]
    start = canonical_axis(parameters.axis, first)
    if len(bottoms) == 2:
        count = len(bottoms[1])
    else:
        count = len(first) - start if parameters.num_axes == -1 else parameters.num_axes
    if count < 0 or start + count > len(first):
        raise LayerError(
            f"its operand of {count} axes from axis {start} on does not lie in a bottom of shape "
            f"{list(first)}."
        )
    return start, start + count
