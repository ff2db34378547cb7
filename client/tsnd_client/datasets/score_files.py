"""The scores of a split's videos as files: in TSN's own layout, and in one without pickles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsnd_client.atomic import replacing
from tsnd_client.errors import OutputError


@dataclass(frozen=True, slots=True, eq=False)
class StreamScores:
    """What one model said of a split's videos, in the split's order.

    Attributes:
        names: V names.
        labels: int64 [V].
        scores: float32 [V, S, classes]: per snippet, mean over crops, before softmax.
    """

    names: Sequence[str]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def write_scores(folder: Path, stem: str, found: StreamScores) -> None:
    """Write both files: STEM.npz without pickles, STEM.tsn.npz as TSN's tools read it.

    STEM.npz has `names` str [V], `labels` int64 [V] and `scores` float32 [V, S, classes].
    STEM.tsn.npz has `scores`, an object array [V, 2] of scores [S, 1, classes] and label, and
    `labels`: tools/eval_scores.py takes it. The daemon averages over crops, so there is one.

    Args:
        folder: Made if it is not there.
        stem: The files' name without suffix.
        found: What to write.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{stem}.npz") as file:
            names = np.array(found.names, np.str_)
            np.savez(file, names=names, labels=found.labels, scores=found.scores)
        with replacing(folder / f"{stem}.tsn.npz") as file:
            np.savez(file, scores=_to_objects(found), labels=found.labels)
    except OSError as err:
        raise OutputError(
            f"cannot write to {folder}: {err.strerror}. Name a folder that takes new files."
        ) from err


def _to_objects(found: StreamScores) -> npt.NDArray[np.object_]:
    table = np.empty((len(found.labels), 2), object)
    for row, (video, label) in enumerate(zip(found.scores, found.labels, strict=True)):
        table[row, 0], table[row, 1] = video[:, None], int(label)
    return table
