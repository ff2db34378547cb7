"""Reads what a net declares as its inputs: in the file's head, or by Input layers."""

import math
from collections.abc import Sequence
from pathlib import Path

from tsnd.caffe.net_pb2 import LayerParameter, NetParameter
from tsnd_builder.errors import PrototxtError

_LARGEST_BLOB = 2**31 - 1
INPUT_LAYER = "Input"
"""A layer type of upstream Caffe that declares inputs and computes nothing."""


def read_inputs(
    net: NetParameter, layers: Sequence[LayerParameter], source: Path
) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of the inputs, in order.

    Args:
        net: The description, for its head.
        layers: Its layers under TEST rules, for its Input layers.
        source: The file, for messages.

    Raises:
        PrototxtError: When there is none, or names and shapes do not pair up.
    """
    declared = _declared_in_head(net, source)
    for layer in layers:
        if layer.type == INPUT_LAYER:
            declared += _declared_by(layer, source)
    names = [name for name, _ in declared]
    if not names:
        raise PrototxtError(
            f"{source} declares no input. A training file reads its own data; give the deploy "
            "file, which begins with input: and input_dim: or input_shape."
        )
    if len(set(names)) != len(names):
        raise PrototxtError(f"{source} names an input twice: {', '.join(names)}.")
    for name, dims in declared:
        if not name:
            raise PrototxtError(f"{source}: the name of an input is empty.")
        if not dims or min(dims) < 1 or math.prod(dims) > _LARGEST_BLOB:
            raise PrototxtError(
                f"{source}: input {name!r} has the shape {list(dims)}; use sizes >= 1, in all at "
                "most 2**31 - 1 elements, as Caffe does."
            )
    return dict(declared)


def _declared_in_head(net: NetParameter, source: Path) -> list[tuple[str, tuple[int, ...]]]:
    if net.input_shape and net.input_dim:
        raise PrototxtError(f"{source} gives both input_shape and input_dim; keep one of them.")
    if net.input_dim:
        dims = list(net.input_dim)
        shapes = [tuple(dims[i : i + 4]) for i in range(0, len(dims), 4)]
        expected = f"{4 * len(net.input)} input_dim lines, 4 per input, and has {len(dims)}"
        fits = len(dims) == 4 * len(net.input)
    else:
        shapes = [tuple(shape.dim) for shape in net.input_shape]
        expected = f"an input_shape per input, and has {len(shapes)}"
        fits = len(shapes) == len(net.input)
    if not fits:
        raise PrototxtError(f"{source} names {len(net.input)} input(s); it needs {expected}.")
    return list(zip(net.input, shapes, strict=True))


def _declared_by(layer: LayerParameter, source: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Read an Input layer, which has one shape for all its tops, or one for each."""
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) == 1:
        shapes *= len(layer.top)
    if len(shapes) != len(layer.top):
        raise PrototxtError(
            f"{source}, layer {layer.name!r} (Input): it has {len(layer.top)} top(s) and "
            f"{len(shapes)} shape(s); give input_param one shape, or one per top."
        )
    return list(zip(layer.top, shapes, strict=True))
