"""Reads a ground truth, in whichever form it comes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsnd_client.evaluation.activitynet import read_activitynet
from tsnd_client.evaluation.columns import GroundTruth
from tsnd_client.evaluation.proposal_list import listed_ground_truth, read_proposal_list
from tsnd_client.evaluation.thumos14 import read_thumos14


def read_ground_truth(
    path: Path,
    *,
    subset: str,
    labels: Sequence[str] | None = None,
    durations_s: Mapping[str, float] | None = None,
) -> GroundTruth:
    """Read a folder of THUMOS14 annotations, ActivityNet's JSON or a proposal list.

    Args:
        path: A folder, a file that ends in .json, or a list.
        subset: Which part of ActivityNet's JSON.
        labels: Class names of a list, in the order of its numbers.
        durations_s: Seconds by video id, beside those that the files tell.

    Raises:
        EvaluationError: A file cannot be read or has another form.
    """
    if path.is_dir():
        return read_thumos14(path, durations_s=durations_s)
    if path.suffix.lower() == ".json":
        return read_activitynet(path, subset)
    return listed_ground_truth(
        read_proposal_list(path),
        labels=labels,
        durations_s=durations_s or {},
        source=str(path),
    )
