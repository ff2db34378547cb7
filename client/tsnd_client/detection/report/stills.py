"""Pictures of a video for its report: the frames that are shown at given times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from tsnd_client.errors import ReportError
from tsnd_client.video import Frame, probe, read_frames, resize_bgr

_WIDTH = 240
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Stills:
    """What one pass over a video gives.

    Attributes:
        duration_s: When the last frame ends, seconds.
        jpegs: JPEG files, in the order of the times that were asked for.
    """

    duration_s: float
    jpegs: tuple[bytes, ...]


def read_stills(video: Path, times_s: Sequence[float]) -> Stills:
    """Decode a video once and keep the frame that is on the screen at each time.

    Args:
        video: The file.
        times_s: Seconds in any order; before the start means the first frame, after the end
            the last.

    Raises:
        VideoError: The file is missing, or no video.
    """
    order = sorted(range(len(times_s)), key=lambda place: times_s[place])
    jpegs = [b""] * len(order)
    taken = 0
    shown: Frame | None = None
    for frame in read_frames(video):
        while shown and taken < len(order) and times_s[order[taken]] < frame.time_s:
            jpegs[order[taken]] = _to_jpeg(shown)
            taken += 1
        shown = frame
    if shown is None:
        raise ReportError(f"{video} has no frame.")
    for place in order[taken:]:
        jpegs[place] = _to_jpeg(shown)
    frames_per_s = probe(video).frames_per_s or 25.0
    return Stills(shown.time_s + 1 / frames_per_s, tuple(jpegs))


def _to_jpeg(frame: Frame) -> bytes:
    height, width = frame.bgr.shape[:2]
    small = resize_bgr(frame.bgr, _WIDTH, max(1, round(_WIDTH * height / width)))
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ReportError(f"frame {frame.index} cannot be encoded as JPEG.")
    return jpeg.tobytes()
