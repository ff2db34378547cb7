"""Proposals: spans of a video in which an action may be, as SSN's loader takes them."""

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats, as_matrix
from tsnd_client.errors import DetectionError


def usable_proposals(frame_spans: npt.ArrayLike, frames: int) -> npt.NDArray[np.int64]:
    """Keep the proposals that begin inside the video and last, and end them with it.

    Unsorted spans stay in their order. Spans that end before they start, or last no whole
    frame, are left out, as the original loader does; so are those that start before 0.

    Args:
        frame_spans: [n, 2], start and end in frames, the end not included; fractions of a
            frame are cut off.
        frames: Frames of the video.

    Returns:
        int64 [m, 2] with 0 <= start < end <= frames; [0, 2] when none is usable.

    Raises:
        DetectionError: It is not such an array, a number is not finite, or the video has
            no frame.
    """
    if frames < 1:
        raise DetectionError(f"the video has {frames} frames, expected at least 1.")
    spans = np.trunc(as_matrix(frame_spans, "proposals", columns=2))
    usable = (spans[:, 1] > spans[:, 0]) & (spans[:, 0] >= 0) & (spans[:, 0] < frames)
    return np.minimum(spans[usable], frames).astype(np.int64)


def relative_proposals(frame_spans: npt.ArrayLike, frames: int) -> Floats:
    """Turn the usable ones of proposals in frames into fractions of the video.

    Args:
        frame_spans: [n, 2], see `usable_proposals`.
        frames: Frames of the video.

    Returns:
        float64 [m, 2] with 0 <= start < end <= 1.

    Raises:
        DetectionError: See `usable_proposals`.
    """
    relative: Floats = usable_proposals(frame_spans, frames) / np.float64(frames)
    return relative


def require_relative(relative: npt.ArrayLike) -> Floats:
    """Take proposals that are fractions of the video.

    Args:
        relative: [n, 2].

    Returns:
        float64 [n, 2].

    Raises:
        DetectionError: One does not have 0 <= start < end <= 1.
    """
    spans = as_matrix(relative, "proposals", columns=2)
    good = (spans[:, 0] >= 0) & (spans[:, 0] < spans[:, 1]) & (spans[:, 1] <= 1)
    if not good.all():
        index = int(np.argmin(good))
        start, end = spans[index]
        raise DetectionError(
            f"proposal {index} goes from {start:g} to {end:g}: expected fractions of the video "
            "with 0 <= start < end <= 1. relative_proposals makes them of frames and leaves out "
            "what cannot be used."
        )
    return spans
