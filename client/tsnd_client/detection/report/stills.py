"""Pictures of a video for its report: the frames that are shown at given times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.errors import VideoError
from tsnd_client.images import encode_jpeg, resize_bgr
from tsnd_client.sources.base import Frame
from tsnd_client.sources.video_file import VideoFile, probe

_WIDTH = 240
_USUAL_FRAMES_PER_S = 25.0  # where the file does not say


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
    for frame in VideoFile(video).frames():
        while shown and taken < len(order) and times_s[order[taken]] < frame.time_s:
            jpegs[order[taken]] = _to_jpeg(shown)
            taken += 1
        shown = frame
    if shown is None:
        raise VideoError(f"{video} has no frame.")
    for place in order[taken:]:
        jpegs[place] = _to_jpeg(shown)
    frames_per_s = probe(video).frames_per_s or _USUAL_FRAMES_PER_S
    return Stills(shown.time_s + 1 / frames_per_s, tuple(jpegs))


def _to_jpeg(frame: Frame) -> bytes:
    height, width = frame.bgr.shape[:2]
    return encode_jpeg(resize_bgr(frame.bgr, _WIDTH, max(1, round(_WIDTH * height / width))))
