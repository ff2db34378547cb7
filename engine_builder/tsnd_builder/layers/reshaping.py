"""Arithmetic on shapes with an open batch axis, and the Reshape that follows from it."""

from itertools import takewhile

from tsnd_builder.caffe.graph import BATCH, Dim, Shape
from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.onnx_writer import NodeWriter


def infer_dim(bottom: Shape, others: Shape) -> Dim:
    """Return the length that makes a new shape hold as many elements as the old one.

    Args:
        bottom: The old shape.
        others: The new shape without the length in question.

    Raises:
        BatchDependent: When it would be no whole multiple of the batch size.
        LayerError: When no length fits.
    """
    (count, batches), (rest, rest_batches) = _elements(bottom), _elements(others)
    if rest == 0 or count % rest:
        _refuse(bottom, (*others, -1), batches != rest_batches)
    if batches - rest_batches == 1:
        return multiple_of_batch(count // rest)
    if batches != rest_batches:
        _refuse(bottom, (*others, -1), True)
    return count // rest


def check_same_size(bottom: Shape, shape: Shape) -> None:
    """Refuse a shape that does not hold the elements of another, row by row.

    Raises:
        BatchDependent: When it would for one batch size only, or when an axis of the new
            shape runs through several rows of the batch.
        LayerError: When it does for no batch size.
    """
    if _elements(bottom) != _elements(shape):
        _refuse(bottom, shape, _elements(bottom)[1] != _elements(shape)[1])
    before = list(takewhile(lambda dim: isinstance(dim, int), shape))
    if len(before) < len(shape) and any(dim != 1 for dim in before):
        _refuse(bottom, shape, True)


def multiple_of_batch(count: int) -> str:
    """Name a length of `count` times the batch size."""
    return BATCH if count == 1 else f"{count}{BATCH}"


def batches_in(dim: str) -> int:
    """Return how many times the batch size a length is."""
    return int(dim.removesuffix(BATCH) or 1)


def write_reshape(writer: NodeWriter, source: str, shape: Shape, top: str, *, name: str) -> str:
    """Write a Reshape to a shape of which at most one length is open."""
    target = [dim if isinstance(dim, int) else -1 for dim in shape]
    operand = writer.integers(f"{name}.shape", target)
    return writer.node("Reshape", [source, operand], top, name=name)


def _elements(shape: Shape) -> tuple[int, int]:
    """Return (count, power): the shape has count * batch ** power elements."""
    count, power = 1, 0
    for dim in shape:
        if isinstance(dim, int):
            count *= dim
            continue
        count *= batches_in(dim)
        power += 1
    return count, power


def _refuse(bottom: Shape, shape: tuple[Dim, ...], depends_on_batch: bool) -> None:
    message = f"a bottom of shape {list(bottom)} cannot be reshaped to {list(shape)}."
    raise BatchDependent(message) if depends_on_batch else LayerError(message)
