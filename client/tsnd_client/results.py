"""Files with the scores of a video's snippets: .jsonl for eyes and tools, .npz for NumPy.

A file appears whole or not at all: it is written beside its place, then renamed.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tsnd_client.atomic import replacing
from tsnd_client.consensus import softmax, top_k
from tsnd_client.errors import OutputError


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSnippet:
    """A snippet's place in its video, and its outputs.

    Attributes:
        snippet_id: The id that it was sent with.
        frame_index: The frame that it is made of, from 0.
        time_s: When that frame is shown, seconds from the start of the video.
        scores: float32 [classes], before softmax.
        features: float32 [D].
        version: Version of the model that scored it.
    """

    snippet_id: str
    frame_index: int
    time_s: float
    scores: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    version: int


def check_destination(path: Path) -> None:
    """Find out, before any work is done, whether results can be written to a path.

    Raises:
        OutputError: The suffix is unknown, or the folder cannot be written to.
    """
    _writer(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder. Name a file.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as err:
        raise _not_written(path, err) from err


def write_results(
    path: Path,
    snippets: Sequence[ScoredSnippet],
    labels: Sequence[str],
    *,
    with_features: bool = False,
) -> None:
    """Write the results of one video, in the format that the suffix names.

    `.jsonl` holds one object per snippet: snippet_id, frame_index, time_s, top5 (label and
    probability), scores (before softmax) and, if asked for, features. `.npz` holds the arrays
    frame_index int64 [S], time_s float64 [S], scores float32 [S, classes], features
    float32 [S, D] and labels str [classes].

    Args:
        path: Where to; an existing file is replaced.
        snippets: At least one.
        labels: Class names, in the order of the scores.
        with_features: Whether `.jsonl` holds the features; `.npz` always does.

    Raises:
        OutputError: The suffix is unknown, the file could not be written, or it is `.npz`
            and the features have different lengths.
    """
    write = _writer(path)
    try:
        with replacing(path) as file:
            write(file, snippets, labels, with_features)
    except OSError as err:
        raise _not_written(path, err) from err


def _write_jsonl(
    file: IO[bytes], snippets: Sequence[ScoredSnippet], labels: Sequence[str], with_features: bool
) -> None:
    for snippet in snippets:
        row = _to_row(snippet, labels)
        if with_features:
            row["features"] = snippet.features.tolist()
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _to_row(snippet: ScoredSnippet, labels: Sequence[str]) -> dict[str, Any]:
    top = top_k(softmax(snippet.scores), 5)
    return {
        "snippet_id": snippet.snippet_id,
        "frame_index": snippet.frame_index,
        "time_s": snippet.time_s,
        "top5": [{"label": labels[index], "probability": value} for index, value in top],
        "scores": snippet.scores.tolist(),
    }


def _write_npz(
    file: IO[bytes], snippets: Sequence[ScoredSnippet], labels: Sequence[str], _: bool
) -> None:
    lengths = sorted({len(snippet.features) for snippet in snippets})
    if len(lengths) > 1:
        raise OutputError(
            f"a .npz file holds features of one length, these have lengths {lengths}: another "
            "version of the model was rolled out in between. Score the video again, or name a "
            ".jsonl file."
        )
    np.savez(
        file,
        frame_index=np.array([snippet.frame_index for snippet in snippets], np.int64),
        time_s=np.array([snippet.time_s for snippet in snippets], np.float64),
        scores=np.stack([snippet.scores for snippet in snippets]),
        features=np.stack([snippet.features for snippet in snippets]),
        labels=np.array(labels, np.str_),
    )


_Writer = Callable[[IO[bytes], Sequence[ScoredSnippet], Sequence[str], bool], None]
_WRITERS: dict[str, _Writer] = {".jsonl": _write_jsonl, ".npz": _write_npz}


def _writer(path: Path) -> _Writer:
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        known = " or ".join(_WRITERS)
        raise OutputError(f"cannot write {path}: expected a name that ends in {known}.")
    return writer


def _not_written(path: Path, err: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {err.strerror}. Name a folder that takes new files.")
