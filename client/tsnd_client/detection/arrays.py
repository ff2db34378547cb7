"""Looks at arrays from outside once, at the door; behind it nothing is checked again."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import DetectionError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def as_matrix(values: npt.ArrayLike, what: str, *, columns: int | None = None) -> Floats:
    """Take a matrix of finite numbers.

    Args:
        values: [rows, columns]; an empty list is a matrix without rows.
        what: What the numbers are, for the message.
        columns: How many columns there must be; None takes any.

    Returns:
        float64 [rows, columns].

    Raises:
        DetectionError: It has another shape, or a number in it is NaN or infinite.
    """
    array = _as_floats(values, what)
    if array.shape == (0,):
        array = array.reshape(0, columns or 0)
    if array.ndim != 2 or columns not in (None, array.shape[1]):
        expected = "columns" if columns is None else columns
        raise DetectionError(
            f"{what}: expected an array [rows, {expected}], got shape {array.shape}."
        )
    return _finite(array, what)


def as_array(values: npt.ArrayLike, what: str, *shape: int) -> Floats:
    """Take finite numbers of a shape.

    Args:
        values: The numbers.
        what: What they are, for the message.
        shape: The shape that they must have.

    Returns:
        float64 of that shape.

    Raises:
        DetectionError: They have another shape, or one of them is NaN or infinite.
    """
    array = _as_floats(values, what)
    if array.shape != shape:
        raise DetectionError(f"{what}: expected an array {list(shape)}, got {list(array.shape)}.")
    return _finite(array, what)


def softmax(scores: Floats) -> Floats:
    """Turn scores [..., classes] into probabilities, in float64."""
    powers: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _as_floats(values: npt.ArrayLike, what: str) -> Floats:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as err:
        raise DetectionError(f"{what}: expected numbers of one shape, got others: {err}.") from err


def _finite(array: npt.NDArray[Any], what: str) -> Floats:
    if not np.isfinite(array).all():
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise DetectionError(
            f"{what}: the number at {place} is {array[place]}, expected finite ones. Score the "
            "snippet again, or leave the video out."
        )
    return array
