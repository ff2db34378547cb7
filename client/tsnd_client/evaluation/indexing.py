"""Brings detections into the columns, and the unit, of a ground truth."""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tsnd_client.detection.detection import Detection
from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation.columns import GroundTruth, Predictions, Unit
from tsnd_client.evaluation.input_files import shown


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Detections that are not judged.

    Attributes:
        in_other_videos: In videos of which the ground truth has no instance. The original leaves
            these out too, so that detections in them cost nothing.
        of_other_labels: Of classes that the ground truth does not have.
    """

    in_other_videos: int = 0
    of_other_labels: int = 0


def index_detections(
    detections: Iterable[Detection], truth: GroundTruth, *, skip_unknown_labels: bool = False
) -> tuple[Predictions, LeftOut]:
    """Look up the videos and classes of detections.

    Args:
        detections: In the unit of the truth (see `in_unit`), in any order.
        truth: The ground truth.
        skip_unknown_labels: Leave out detections of classes that the truth does not have,
            instead of refusing them.

    Raises:
        EvaluationError: A place or a score is not finite, an end is before its start, a label
            is unknown, or there are detections, but none in a video of the truth.
    """
    video_of = {video: index for index, video in enumerate(truth.videos)}
    label_of = {label: index for index, label in enumerate(truth.labels)}
    rows: list[tuple[int, int, float, float, float]] = []
    unknown: Counter[str] = Counter()
    strange_videos: Counter[str] = Counter()
    for detection in detections:
        _check(detection)
        video, label = video_of.get(detection.video_id), label_of.get(detection.label)
        if video is None:
            strange_videos[detection.video_id] += 1
        elif label is None:
            unknown[detection.label] += 1
        else:
            rows.append((video, label, detection.start_s, detection.end_s, detection.score))
    if strange_videos and not rows and not unknown:
        raise EvaluationError(
            f"no detection is in a video of the ground truth: those are like "
            f"{shown(truth.videos[0])}, these like {shown(next(iter(strange_videos)))}. "
            "Name videos alike in both files."
        )
    if unknown and not skip_unknown_labels:
        raise EvaluationError(_unknown_labels(unknown, truth.labels))
    table = np.array(rows, np.float64).reshape(-1, 5)
    predictions = Predictions(
        video=table[:, 0].astype(np.int64),
        label=table[:, 1].astype(np.int64),
        spans=table[:, 2:4].copy(),
        scores=table[:, 4].copy(),
    )
    return predictions, LeftOut(strange_videos.total(), unknown.total())


def in_unit(truth: GroundTruth, unit: Unit, durations_s: Mapping[str, float]) -> GroundTruth:
    """Bring a ground truth into the unit of detections.

    Args:
        truth: In any unit.
        unit: Of the detections.
        durations_s: Seconds by video id, beside those that the truth knows.

    Raises:
        EvaluationError: The length of a video is needed and not known.
    """
    if truth.unit is unit:
        return truth
    lengths = {**truth.durations_s, **durations_s}
    missing = [video for video in truth.videos if not lengths.get(video, 0) > 0]
    if missing:
        raise EvaluationError(
            f"the ground truth counts in {truth.unit.shown}, the results in {unit.shown}, and "
            f"the length of {len(missing)} of {len(truth.videos)} videos is not known, the first "
            f"{shown(missing[0])}. Give their seconds with --durations, or name the unit of the "
            "results with --unit."
        )
    seconds = np.array([lengths[video] for video in truth.videos])[truth.video, np.newaxis]
    spans = truth.spans * seconds if unit is Unit.SECONDS else truth.spans / seconds
    return replace(truth, spans=spans, unit=unit, durations_s=lengths)


def _check(detection: Detection) -> None:
    values = (detection.start_s, detection.end_s, detection.score)
    if not all(map(math.isfinite, values)):
        raise EvaluationError(
            f"a detection in video {shown(detection.video_id)} is not finite: start "
            f"{detection.start_s}, end {detection.end_s}, score {detection.score}."
        )
    if detection.end_s < detection.start_s:
        raise EvaluationError(
            f"a detection in video {shown(detection.video_id)} ends before it starts: start "
            f"{detection.start_s}, end {detection.end_s}."
        )


def _unknown_labels(unknown: Mapping[str, int], labels: tuple[str, ...]) -> str:
    name = next(iter(unknown))
    close = difflib.get_close_matches(name[:100], labels, 1, 0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"{len(unknown)} labels of the results are not in the ground truth, the first "
        f"{shown(name)}.{hint} Rename them, or leave their detections out with "
        "--skip-unknown-labels."
    )
