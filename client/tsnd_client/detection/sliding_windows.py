"""Sliding windows: proposals that look at nothing, where there is no actionness network."""

import math

import numpy as np

from tsnd_client.detection.arrays import Floats
from tsnd_client.errors import DetectionError

_MINIMUM_INSIDE_S = 1.0


def sliding_windows(duration_s: float, *, levels: int = 8, overlap: float = 0.7) -> Floats:
    """Cover a video with windows of 1, 2, 4, ... seconds (`gen_exponential_sw_proposal`).

    Windows of a length follow each other by whole seconds: length * (1 - overlap), rounded up.
    Those with less than one second in the video are left out.

    Args:
        duration_s: How long the video is, seconds.
        levels: How many lengths; 8 is up to 128 s.
        overlap: Share of a window that the next one of its length has in common with it,
            from 0 to below 1.

    Returns:
        float64 [n, 2], start and end in seconds, the shortest first; ends may be beyond the
        video. None where the video is shorter than a second.

    Raises:
        DetectionError: An argument is out of its range.
    """
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise DetectionError(f"the video lasts {duration_s} s, expected 0 or more.")
    if levels < 1 or not 0 <= overlap < 1:
        raise DetectionError(
            f"expected levels of at least 1 and an overlap in [0, 1), got {levels} and {overlap}."
        )
    windows = [_cover(duration_s, 2**level, overlap) for level in range(levels)]
    return np.concatenate(windows)


def _cover(duration_s: float, length_s: int, overlap: float) -> Floats:
    starts = np.arange(0.0, duration_s, math.ceil(length_s * (1 - overlap)))
    ends = starts + length_s
    inside = np.minimum(duration_s, ends) - starts >= _MINIMUM_INSIDE_S
    windows: Floats = np.stack([starts, ends], axis=1)[inside]
    return windows
