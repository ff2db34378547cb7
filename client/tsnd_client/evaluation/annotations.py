"""Collects the annotations of a file into a ground truth."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation.columns import GroundTruth, Unit


@dataclass(frozen=True, slots=True)
class Annotation:
    """An instance of a class in a video; `start` and `end` in the unit of its file."""

    video_id: str
    label: str
    start: float
    end: float


def to_ground_truth(  # noqa: D417 - `unit` and `durations_s` are GroundTruth's
    annotations: Iterable[Annotation],
    labels: Iterable[str] | None = None,
    *,
    unit: Unit,
    durations_s: Mapping[str, float],
    left_out: Mapping[str, int],
    source: str,
) -> GroundTruth:
    """Index annotations by video and class.

    Those that do not end after they start are left out and counted, as when SSN reads a list.

    Args:
        annotations: In the order of their file.
        labels: All class names, in order; None for those of the annotations, sorted.
        left_out: What the reader has left out already.
        source: Where they come from, for the message.

    Raises:
        EvaluationError: There are none that can be found.
    """
    kept: list[Annotation] = []
    skipped = Counter(left_out)
    for annotation in annotations:
        if annotation.end > annotation.start:
            kept.append(annotation)
        else:
            skipped["no end after the start"] += 1
    if not kept:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.items())
        raise EvaluationError(
            f"{source} has no annotation to evaluate by ({reasons or 'it has none at all'})."
        )
    names = tuple(labels) if labels is not None else tuple(sorted({row.label for row in kept}))
    videos = tuple(dict.fromkeys(row.video_id for row in kept))
    label_of = {name: index for index, name in enumerate(names)}
    video_of = {name: index for index, name in enumerate(videos)}
    return GroundTruth(
        videos=videos,
        labels=names,
        video=np.array([video_of[row.video_id] for row in kept], np.int64),
        label=np.array([label_of[row.label] for row in kept], np.int64),
        spans=np.array([(row.start, row.end) for row in kept], np.float64),
        unit=unit,
        durations_s=durations_s,
        left_out=dict(skipped),
    )
