"""Reads ActivityNet's JSON: annotations, and results in the form of a submission."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsnd_client.detection.detection import Detection
from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation.annotations import Annotation, to_ground_truth
from tsnd_client.evaluation.columns import GroundTruth, Unit
from tsnd_client.evaluation.input_files import (
    mapping,
    number,
    read_json,
    sequence,
    shown,
    span,
    text,
)


def read_activitynet(path: Path, subset: str) -> GroundTruth:
    """Read `{"database": {ID: {"subset", "duration", "annotations": [{"label", "segment"}]}}}`.

    The classes are those of the whole file, so that every subset has the same.

    Args:
        path: The file.
        subset: "training", "validation" or what the file calls its parts.

    Returns:
        Spans in seconds.

    Raises:
        EvaluationError: The file cannot be read, has another shape, or nothing of the subset.
    """
    videos = mapping(mapping(read_json(path), str(path)).get("database"), f"{path}: 'database'")
    annotations: list[Annotation] = []
    durations_s: dict[str, float] = {}
    subsets: Counter[str] = Counter()
    labels: set[str] = set()
    for video_id, entry in videos.items():
        what = f"{path}: video {shown(video_id)}"
        video = mapping(entry, what)
        of_video = list(_annotations(video_id, video, what))
        labels.update(row.label for row in of_video)
        part = text(video.get("subset"), f"{what}, 'subset'")
        subsets[part] += 1
        if part == subset:
            annotations.extend(of_video)
            if "duration" in video:
                durations_s[video_id] = number(video["duration"], f"{what}, 'duration'")
    if subset not in subsets:
        raise EvaluationError(
            f"{path} has no video of subset {subset!r}; it has "
            f"{', '.join(sorted(subsets)) or 'no video at all'}. Name one with --subset."
        )
    return to_ground_truth(
        annotations,
        sorted(labels),
        unit=Unit.SECONDS,
        durations_s=durations_s,
        left_out={},
        source=f"subset {subset!r} of {path}",
    )


def _annotations(video_id: str, video: dict[str, Any], what: str) -> Iterator[Annotation]:
    rows = sequence(video.get("annotations"), f"{what}, 'annotations'")
    for place, row in enumerate(rows):
        item = f"{what}, annotation {place}"
        entry = mapping(row, item)
        start, end = span(entry.get("segment"), f"{item}, 'segment'")
        yield Annotation(video_id, text(entry.get("label"), f"{item}, 'label'"), start, end)


def read_results(path: Path) -> list[Detection]:
    """Read `{"results": {ID: [{"label", "score", "segment": [start, end]}]}}`.

    This is the form of submissions to ActivityNet, which `tsn detect` writes too.

    Raises:
        EvaluationError: The file cannot be read or has another shape.
    """
    results = mapping(mapping(read_json(path), str(path)).get("results"), f"{path}: 'results'")
    return [
        _detection(video_id, row, f"{path}: video {shown(video_id)}, result {place}")
        for video_id, rows in results.items()
        for place, row in enumerate(sequence(rows, f"{path}: video {shown(video_id)}"))
    ]


def _detection(video_id: str, row: object, what: str) -> Detection:
    entry = mapping(row, what)
    start_s, end_s = span(entry.get("segment"), f"{what}, 'segment'")
    return Detection(
        video_id=video_id,
        start_s=start_s,
        end_s=end_s,
        label=text(entry.get("label"), f"{what}, 'label'"),
        score=number(entry.get("score"), f"{what}, 'score'"),
    )
