"""Small files that detection is told with: labels, and how regression was normalised."""

import json
from collections.abc import Mapping
from pathlib import Path

from tsnd_client.detection.arrays import as_array
from tsnd_client.detection.head import RegressionStatistics
from tsnd_client.errors import DetectionError


def read_labels(path: Path, classes: int) -> tuple[str, ...]:
    """Read the names of classes, one a line.

    Raises:
        DetectionError: The file cannot be read, has another number of lines, or a name twice.
    """
    labels = tuple(line.strip() for line in _read(path).splitlines() if line.strip())
    if len(labels) != classes or len(set(labels)) != classes:
        raise DetectionError(
            f"{path} names {len(labels)} classes, {len(set(labels))} of them different: expected "
            f"{classes}, one a line, in the order of the network's classes."
        )
    return labels


def read_statistics(path: Path) -> Mapping[str, RegressionStatistics]:
    """Read the `reg_stats` of checkpoints, by modality.

    The file is JSON: {"rgb": [[mean_location, mean_duration], [std_location, std_duration]]}, and
    the same of "flow".

    Raises:
        DetectionError: The file cannot be read, or has another form.
    """
    try:
        by_modality = json.loads(_read(path))
    except ValueError as err:
        raise DetectionError(f"{path} is no JSON: {err}.") from err
    if not isinstance(by_modality, dict) or not by_modality.keys() <= {"rgb", "flow"}:
        raise DetectionError(f'{path}: expected an object with "rgb", "flow" or both.')
    return {
        modality: RegressionStatistics(*as_array(numbers, f"{path}, {modality}", 2, 2).ravel())
        for modality, numbers in by_modality.items()
    }


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DetectionError(f"{path} cannot be read: {err}.") from err
