"""How often a classifier is right, as TSN's reports count it: pure NumPy."""

import numpy as np
import numpy.typing as npt


def top_k_accuracy(scores: npt.ArrayLike, labels: npt.ArrayLike, k: int = 1) -> float:
    """Return the share of videos whose class is among the k best.

    Args:
        scores: [V, classes]; equal scores rank by class, the first of them best.
        labels: Integers [V], the class of each video.
        k: How many of the best classes count.

    Raises:
        ValueError: There is no video, shapes do not agree, a class is out of range, or `k` is
            less than 1.
    """
    table, classes = _checked(scores, labels)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    best = np.argsort(-table, axis=1, kind="stable")[:, :k]
    return float((best == classes[:, None]).any(axis=1).mean())


def class_accuracies(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return for each class the share of its videos that are recognised.

    Args:
        scores: [V, classes].
        labels: Integers [V].

    Returns:
        float64 [classes]; NaN for a class that no video has.

    Raises:
        ValueError: As `top_k_accuracy`.
    """
    table, classes = _checked(scores, labels)
    count = table.shape[1]
    videos = np.bincount(classes, minlength=count)
    hits = np.bincount(classes[table.argmax(axis=1) == classes], minlength=count)
    with np.errstate(invalid="ignore"):
        shares: npt.NDArray[np.float64] = hits / videos
    return shares


def mean_class_accuracy(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean over classes of `class_accuracies`: the "Accuracy" that TSN prints.

    Classes without videos are left out; TSN's script gives NaN when one of them is predicted.

    Raises:
        ValueError: As `top_k_accuracy`.
    """
    return float(np.nanmean(class_accuracies(scores, labels)))


def _checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    table, classes = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if table.ndim != 2 or not len(table) or classes.shape != table.shape[:1]:
        raise ValueError(
            "expected scores [V, classes] and labels [V] with V >= 1, got shapes "
            f"{table.shape} and {classes.shape}"
        )
    if classes.min() < 0 or classes.max() >= table.shape[1]:
        raise ValueError(
            f"labels must be of 0 to {table.shape[1] - 1}, got {classes.min()} to {classes.max()}"
        )
    return table, classes
