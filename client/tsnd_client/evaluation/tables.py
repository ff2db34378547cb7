"""Writes an evaluation for people, as text, and for programs, as JSON values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsnd_client.evaluation.evaluate import Evaluation

_PROPOSALS = (1, 5, 10, 50, 100)


def to_text(evaluation: Evaluation, annotations_left_out: Mapping[str, int]) -> str:
    """Write tables of mAP, AR@AN, every class and the published numbers; all in percent.

    Args:
        evaluation: What to show.
        annotations_left_out: How many annotations were not taken, by reason.
    """
    parts = [
        _heading(evaluation),
        _table(_map_rows(evaluation)),
        f"AR@AN, detections as proposals; area under the curve {100 * evaluation.curve.area:.2f}",
        _table(_recall_rows(evaluation)),
        _table(_class_rows(evaluation)),
    ]
    if evaluation.protocol.published:
        parts += [f"SSN as published, {evaluation.protocol.headline_name}"]
        parts += [_table(_published_rows(evaluation))]
    notes = "\n".join(_notes(evaluation, annotations_left_out))
    return "\n\n".join([*parts, *([notes] if notes else [])])


def to_json(evaluation: Evaluation, annotations_left_out: Mapping[str, int]) -> dict[str, Any]:
    """Make JSON values of an evaluation; shares from 0 to 1, null where there is no number.

    Args:
        evaluation: What to show.
        annotations_left_out: How many annotations were not taken, by reason.
    """
    protocol, curve = evaluation.protocol, evaluation.curve
    return {
        "dataset": protocol.dataset,
        "videos": evaluation.videos,
        "thresholds": list(protocol.thresholds),
        "mAP": evaluation.mean_precision.tolist(),
        "average_mAP": evaluation.average_map,
        "classes": [
            {
                "label": label,
                "instances": int(evaluation.instances[row]),
                "detections": int(evaluation.detections[row]),
                "AP": [_or_none(value) for value in evaluation.precision[row].tolist()],
            }
            for row, label in enumerate(evaluation.labels)
        ],
        "AR": {
            "thresholds": list(curve.thresholds),
            "proposals_per_video": curve.proposals_per_video.tolist(),
            "recall": curve.recall.tolist(),
            "average": curve.average.tolist(),
            "area": curve.area,
        },
        "published": [
            {"network": row.network, "rgb": row.rgb, "flow": row.flow, "both": row.both}
            for row in protocol.published
        ],
        "published_metric": protocol.headline_name,
        "detections_left_out": {
            "in_other_videos": evaluation.left_out.in_other_videos,
            "of_other_labels": evaluation.left_out.of_other_labels,
        },
        "annotations_left_out": dict(annotations_left_out),
    }


def _heading(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.protocol.dataset}: {evaluation.detections.sum()} detections of "
        f"{evaluation.instances.sum()} instances in {evaluation.videos} videos, percent"
    )


def _map_rows(evaluation: Evaluation) -> Iterator[Sequence[str]]:
    yield ("tIoU", *(f"{value:.2f}" for value in evaluation.protocol.thresholds), "average")
    yield ("mAP", *map(_percent, [*evaluation.mean_precision.tolist(), evaluation.average_map]))


def _recall_rows(evaluation: Evaluation) -> Iterator[Sequence[str]]:
    yield ("proposals per video", *map(str, _PROPOSALS))
    yield ("average recall", *(_percent(evaluation.curve.at(count)) for count in _PROPOSALS))


def _class_rows(evaluation: Evaluation) -> Iterator[Sequence[str]]:
    thresholds = (f"{value:.2f}" for value in evaluation.protocol.thresholds)
    yield ("class", "instances", "detections", *thresholds)
    for row, label in enumerate(evaluation.labels):
        counts = (str(evaluation.instances[row]), str(evaluation.detections[row]))
        yield (_one_line(label), *counts, *map(_percent, evaluation.precision[row].tolist()))


def _published_rows(evaluation: Evaluation) -> Iterator[Sequence[str]]:
    yield ("network", "RGB", "flow", "both")
    for published in evaluation.protocol.published:
        numbers = (published.rgb, published.flow, published.both)
        yield (published.network, *(f"{value:.2f}" for value in numbers))
    yield ("these detections", "", "", _percent(evaluation.headline))


def _notes(evaluation: Evaluation, annotations_left_out: Mapping[str, int]) -> Iterator[str]:
    for reason, count in annotations_left_out.items():
        yield f"Left out: {count} annotations with {reason}."
    if evaluation.left_out.in_other_videos:
        count = evaluation.left_out.in_other_videos
        yield f"Left out: {count} detections in videos without instances."
    if evaluation.left_out.of_other_labels:
        count = evaluation.left_out.of_other_labels
        yield f"Left out: {count} detections of classes that the ground truth does not have."


def _table(rows: Iterator[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _one_line(text: str) -> str:
    """Keep a label from the file from moving the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:40]
