"""TAG, temporal actionness grouping: proposals from an actionness curve.

At every threshold the curve is on or off. Runs of on ticks are joined as long as the off ticks
between them are a small enough share, the tolerance; once beginning at each run and going
forward, once ending at each run and going backward. What all thresholds and tolerances give is
scored, and suppressed where it overlaps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.actionness import actionness_curve
from tsnd_client.detection.arrays import Floats, as_matrix
from tsnd_client.detection.nms import best_first, suppress_sorted
from tsnd_client.errors import DetectionError

_THRESHOLDS = (0.01, 0.05, 0.1, 0.15, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_TOLERANCES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class TagSettings:
    """Settings of TAG, as SSN's code has them; its paper has others.

    Attributes:
        thresholds: Values that the curve is above where it is on.
        tolerances: Shares of off ticks up to which runs are joined.
        sigma_ticks: How much the curve is smoothed, see `actionness_curve`.
        nms_threshold: Largest overlap of two proposals, below 1.
        frame_interval: Frames from one tick to the next.

    Raises:
        DetectionError: A value makes no sense.
    """

    thresholds: tuple[float, ...] = _THRESHOLDS
    tolerances: tuple[float, ...] = _TOLERANCES
    sigma_ticks: float = 3.0
    nms_threshold: float = 0.9
    frame_interval: int = 5

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.thresholds, *self.tolerances))):
            raise DetectionError(f"thresholds and tolerances must be finite, got {self}.")
        if not 0 <= self.nms_threshold < 1:
            raise DetectionError(f"nms_threshold must be in [0, 1), got {self.nms_threshold}.")
        if self.frame_interval < 1:
            raise DetectionError(f"frame_interval must be at least 1, got {self.frame_interval}.")


@dataclass(frozen=True, slots=True, eq=False)
class TagProposals:
    """Proposals of one video in ticks.

    Attributes:
        spans: int64 [n, 2], first tick and the one after the last; as in the original up to one
            tick beyond the video.
        scores: float64 [n], sums of action scores before softmax, which favour long spans.
        ticks: Ticks of the video.
    """

    spans: npt.NDArray[np.int64]
    scores: Floats
    ticks: int

    def to_seconds(self, duration_s: float, minimum_s: float = 0.0) -> Floats:
        """Scale the spans to a video.

        Args:
            duration_s: How long the video is, seconds.
            minimum_s: Spans that are not longer than this are left out, seconds.

        Returns:
            float64 [m, 2], seconds; an end may be up to one tick beyond the video.
        """
        seconds: Floats = self.spans / np.float64(max(self.ticks, 1)) * duration_s
        return seconds[seconds[:, 1] - seconds[:, 0] > minimum_s]

    def to_frames(self, frames: int) -> npt.NDArray[np.int64]:
        """Scale the spans to a video's frames, fractions cut off.

        Args:
            frames: Frames of the video.

        Returns:
            int64 [n, 2]; `usable_proposals` ends them with the video.
        """
        return np.trunc(self.spans / np.float64(max(self.ticks, 1)) * frames).astype(np.int64)


def propose(scores: npt.ArrayLike, settings: TagSettings | None = None) -> TagProposals:
    """Find spans of a video in which an action may be.

    Args:
        scores: [T, 2 or more], actionness before softmax; column 1 is any action.
        settings: None is the original's.

    Returns:
        Proposals, the best first; none where the curve never is above a threshold.

    Raises:
        DetectionError: It is not such an array, or a number is not finite.
    """
    settings = settings or TagSettings()
    curve = actionness_curve(scores, settings.sigma_ticks)
    if not len(curve):
        return TagProposals(np.empty((0, 2), np.int64), np.empty(0), 0)
    action = as_matrix(scores, "actionness scores")[:, 1]
    boxes = group(curve, action, settings)
    order = best_first(boxes.scores)
    # Of equal spans only the best can stay; without the others suppression is faster.
    _, first = np.unique(boxes.spans[order], axis=0, return_index=True)
    order = order[np.sort(first)]
    kept = suppress_sorted(boxes.spans.astype(np.float64), order, settings.nms_threshold, 1.0)
    return TagProposals(boxes.spans[kept], boxes.scores[kept], len(curve))


def group(curve: Floats, action: Floats, settings: TagSettings) -> TagProposals:
    """Group a curve at every threshold and tolerance.

    Args:
        curve: float64 [T], T at least 1.
        action: float64 [T], what is summed to score a span.
        settings: Of the grid.

    Returns:
        All spans in the order in which they are found, many of them more than once.
    """
    boxes = np.array(
        [
            box
            for threshold in settings.thresholds
            for box in _group_runs(curve > threshold, settings.tolerances)
        ],
        np.int64,
    ).reshape(-1, 4)
    sums = np.concatenate([[0.0], np.cumsum(action)])
    first, last = np.minimum(boxes[:, 2:], len(curve)).T
    return TagProposals(boxes[:, :2], sums[last] - sums[first], len(curve))


# First tick of a span and the one after its last, and the same of what its score is summed over.
_Box = tuple[int, int, int, int]


def _group_runs(on: npt.NDArray[np.bool_], tolerances: Sequence[float]) -> Iterator[_Box]:
    """Join the runs of on ticks [T] at each tolerance.

    With s(t) = (off ticks up to and with t) - tolerance * t, runs are joined as long as s does
    not rise above what it was where the joining began. That is the original's way to bound the
    share of off ticks. It makes a span one tick longer than its last run.
    """
    edges = np.diff(on.astype(np.int8), prepend=0, append=0)
    ups, downs = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not ups.size:
        return
    off = np.cumsum(~on)
    ticks = np.arange(len(on))
    up, down = ups.tolist(), downs.tolist()
    for tolerance in tolerances:
        excess = off - tolerance * ticks
        yield from _forward(up, down, excess[ups].tolist())
        beyond = np.append(excess, excess[-1] - tolerance)
        yield from _backward(up, down, beyond[downs].tolist())


def _forward(up: list[int], down: list[int], excess: list[float]) -> Iterator[_Box]:
    for run, stop in enumerate(_next_greater(excess)):
        start, end = up[run], down[stop - 1] + 1
        yield start, end, start, end


def _backward(up: list[int], down: list[int], excess: list[float]) -> Iterator[_Box]:
    stops = _next_greater([-value for value in reversed(excess)])
    for run, stop in zip(range(len(up) - 1, -1, -1), stops, strict=True):
        start, end = up[len(up) - stop], down[run] + 1
        if stop < len(up):
            yield start, end, start, end
        else:
            # What goes back to the first run is scored from the video's first tick on, and one
            # tick further.
            yield start, end, 0, end + 1


def _next_greater(values: list[float]) -> list[int]:
    """Say for each value which is the first later one that is greater; their number if none.

    Each value is put on the stack and taken off it once.
    """
    following = [len(values)] * len(values)
    waiting: list[int] = []
    for index, value in enumerate(values):
        while waiting and value > values[waiting[-1]]:
            following[waiting.pop()] = index
        waiting.append(index)
    return following
