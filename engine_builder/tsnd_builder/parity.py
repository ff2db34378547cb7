"""Compares two results for the same inputs; what `verify` reports. Pure NumPy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a result is from its reference.

    Attributes:
        max_error: Largest absolute difference, relative to the reference's largest value.
        mean_error: Mean absolute difference, relative to the same.
        cosine: Smallest cosine between a row and its reference.
        top1: Share of rows whose largest value is at the same place.
        clear_top1: The same among rows whose largest value leads by more than the given
            margin; 1 when there are none.
        top5: Mean share of the reference's five largest places found among the result's.
    """

    max_error: float
    mean_error: float
    cosine: float
    top1: float
    clear_top1: float
    top5: float


@np.errstate(invalid="ignore")  # infinities compare too, as no number
def compare(result: npt.ArrayLike, reference: npt.ArrayLike, *, margin: float = 0.0) -> Agreement:
    """Compare a result with its reference, row by row.

    Args:
        result: Any numbers [N, ...].
        reference: The same shape.
        margin: By how much of the reference's largest value a row's first place is clear.

    Raises:
        ValueError: When the shapes differ.
    """
    actual, expected = (np.asarray(a, np.float64) for a in (result, reference))
    if actual.shape != expected.shape:
        raise ValueError(f"a result of {actual.shape} has a reference of {expected.shape}")
    actual, expected = (a.reshape(len(a), -1) for a in (actual, expected))
    difference = np.abs(actual - expected)
    largest = max(np.abs(expected).max(), np.finfo(np.float64).tiny)
    is_same = actual.argmax(axis=1) == expected.argmax(axis=1)
    is_clear = leads(expected) > margin * largest
    return Agreement(
        max_error=float(difference.max() / largest),
        mean_error=float(difference.mean() / largest),
        cosine=float(_cosines(actual, expected).min()),
        top1=float(is_same.mean()),
        clear_top1=float(is_same[is_clear].mean()) if is_clear.any() else 1.0,
        top5=_shared_places(actual, expected, 5),
    )


def leads(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return by how much each row's largest value leads its second; inf when it has one."""
    if rows.shape[1] < 2:
        return np.full(len(rows), np.inf)
    second, first = np.sort(rows, axis=1)[:, -2:].T
    lead: npt.NDArray[np.float64] = first - second
    return lead


def _cosines(
    actual: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of rows; equal rows of zeros have 1."""
    lengths = np.linalg.norm(actual, axis=1) * np.linalg.norm(expected, axis=1)
    products = (actual * expected).sum(axis=1)
    equal = (actual == expected).all(axis=1)
    cosines: npt.NDArray[np.float64] = np.where(
        equal, 1.0, products / np.where(lengths == 0, np.inf, lengths)
    )
    return cosines


def _shared_places(
    actual: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], count: int
) -> float:
    count = min(count, actual.shape[1])
    ours = np.argsort(-actual, axis=1, kind="stable")[:, :count]
    theirs = np.argsort(-expected, axis=1, kind="stable")[:, :count]
    shared = [len(set(a) & set(b)) / count for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(shared))
