"""Files with detections: .json as ActivityNet takes submissions, .csv for tables.

A file appears whole or not at all.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsnd_client.atomic import replacing
from tsnd_client.detection.detection import Detection
from tsnd_client.errors import OutputError

ByVideo = Mapping[str, Sequence[Detection]]
_COLUMNS = ("video_id", "start_s", "end_s", "label", "score")


def submission(by_video: ByVideo) -> dict[str, Any]:
    """Put detections into the form of a submission to ActivityNet.

    Args:
        by_video: Detections of each video; a video without any is there too.

    Returns:
        {"version", "results": {video: [{"label", "score", "segment": [start, end]}]},
        "external_data"}, segments in seconds.
    """
    return {
        "version": "VERSION 1.3",
        "results": {
            video_id: [
                {"label": one.label, "score": one.score, "segment": [one.start_s, one.end_s]}
                for one in detections
            ]
            for video_id, detections in by_video.items()
        },
        "external_data": {},
    }


def check_destination(path: Path) -> None:
    """Find out, before any work is done, whether detections can be written to a path.

    Raises:
        OutputError: Its suffix is unknown, it is a folder, or its folder is not there.
    """
    if path.suffix not in _WRITERS:
        raise OutputError(f"cannot write {path}: expected a name in {' or '.join(_WRITERS)}.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: name a file in a folder that is there.")


def write_detections(path: Path, by_video: ByVideo) -> None:
    """Write detections in the format that the suffix names.

    Args:
        path: Where to, .json or .csv; an existing file is replaced.
        by_video: Detections of each video.

    Raises:
        OutputError: The suffix is unknown, or the file cannot be written.
    """
    check_destination(path)
    content = _WRITERS[path.suffix](by_video).encode()
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as err:
        raise OutputError(f"cannot write {path}: {err.strerror}.") from err


def _to_json(by_video: ByVideo) -> str:
    return json.dumps(submission(by_video), ensure_ascii=False)


def _to_csv(by_video: ByVideo) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(
        [getattr(one, column) for column in _COLUMNS]
        for detections in by_video.values()
        for one in detections
    )
    return text.getvalue()


_WRITERS = {".json": _to_json, ".csv": _to_csv}
