"""Where things stand on the timeline: numbers only, no markup."""

import bisect
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600)
_MOST_TICKS = 8
_POINTS = 600


def ticks(duration_s: float) -> list[float]:
    """Choose seconds to write on the axis: round ones, from 0, at most nine."""
    step = next((s for s in _STEPS_S if duration_s / s <= _MOST_TICKS), None)
    step = step or 86400.0 * math.ceil(duration_s / 86400 / _MOST_TICKS)
    return [round(step * index, 6) for index in range(int(duration_s / step + 1e-9) + 1)]


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Write a time as m:ss or h:mm:ss, with tenths where asked for."""
    whole = round(seconds * 10) if tenths else round(seconds) * 10
    minutes, rest = divmod(whole, 600)
    hours, minutes = divmod(minutes, 60)
    second = f"{rest / 10:04.1f}" if tenths else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{second}" if hours else f"{minutes}:{second}"


def rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Put spans on as few rows as keep those that overlap apart.

    Args:
        spans: Starts and ends, by start.

    Returns:
        The row of each, from 0.
    """
    ends: list[tuple[float, int]] = []  # of the last span on each row, the earliest first
    found = []
    for start, end in spans:
        row = ends.pop(0)[1] if ends and ends[0][0] <= start else len(ends)
        bisect.insort(ends, (end, row))
        found.append(row)
    return found


def outline(
    times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64], duration_s: float
) -> list[tuple[float, float]]:
    """Thin a curve to what a screen can show, keeping its peaks.

    Args:
        times_s: float64 [T], rising.
        values: float64 [T].
        duration_s: Length of the axis.

    Returns:
        Points, at most 600: x from 0 to 1, y from 0 to 1.
    """
    inside = (times_s >= 0) & (times_s <= duration_s)
    x, y = times_s[inside] / duration_s, np.clip(values[inside], 0, 1)
    if len(x) > _POINTS:
        starts = np.linspace(0, len(x), _POINTS, endpoint=False).astype(np.int64)
        x, y = x[starts], np.maximum.reduceat(y, starts)
    return list(zip(x.tolist(), y.tolist(), strict=True))
