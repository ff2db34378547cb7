"""Makes the report of a video file from its detections."""

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tsnd_client.detection.detection import Detection
from tsnd_client.detection.report.stills import read_stills
from tsnd_client.detection.report.values import Curve, EmbeddedVideo, LinkedVideo, Report
from tsnd_client.errors import ReportError

EMBED_AT_MOST_BYTES = 32 << 20
_MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
}


class Player(StrEnum):
    """Where the page has the video from."""

    AUTO = "auto"  # inside where it is small and of a kind that browsers play, else beside
    EMBED = "embed"
    LINK = "link"
    NONE = "none"


def build_report(
    video: Path,
    detections: Sequence[Detection],
    *,
    page: Path,
    curves: Sequence[Curve] = (),
    top: int = 100,
    player: Player = Player.AUTO,
) -> Report:
    """Take the best detections, and from the video its length and their pictures.

    Args:
        video: The file.
        detections: Of this video.
        page: Where the page will be, from where a link to the video leads.
        curves: What to draw beside them.
        top: How many detections to show, those of the highest scores.
        player: Whether the page holds the video.

    Raises:
        VideoError: The file is missing, or no video.
        ReportError: A detection or a curve is not one.
    """
    best = tuple(sorted(detections, key=lambda found: -found.score)[:top])
    middles = [(found.start_s + found.end_s) / 2 for found in best]
    stills = read_stills(video, middles)
    return Report(
        title=video.name,
        duration_s=stills.duration_s,
        detections=best,
        curves=tuple(curves),
        stills=dict(enumerate(stills.jpegs)),
        video=_player(video, page, player),
    )


def read_curves(path: Path) -> list[Curve]:
    """Read `{"times_s": [0.0, 0.2], "curves": {"actionness": [0.1, 0.9]}}`.

    Raises:
        ReportError: The file cannot be read or has another shape.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        times_s = np.array(content["times_s"], np.float64)
        named = content["curves"].items()
        return [Curve(str(name), times_s, np.array(row, np.float64)) for name, row in named]
    except OSError as err:
        raise ReportError(f"cannot read {path}: {err.strerror}.") from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ReportError(
            f"cannot read {path}: expected JSON with 'times_s', a list of seconds, and 'curves', "
            f"an object with as many numbers by name ({type(err).__name__}: {err})."
        ) from err


def _player(video: Path, page: Path, player: Player) -> EmbeddedVideo | LinkedVideo | None:
    if player is Player.NONE:
        return None
    media_type = _MEDIA_TYPES.get(video.suffix.lower())
    is_small = video.stat().st_size <= EMBED_AT_MOST_BYTES
    if player is Player.EMBED or (player is Player.AUTO and is_small and media_type):
        return EmbeddedVideo(video.read_bytes(), media_type or "video/mp4")
    relative = os.path.relpath(video.resolve(), page.resolve().parent)
    return LinkedVideo(PurePosixPath(relative))
