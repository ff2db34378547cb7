"""The values that an evaluation works on: time spans of many videos, as columns.

Rows refer to videos and classes by their place in `GroundTruth.videos` and `.labels`. Spans of
one video are in one unit, whichever: overlap does not depend on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Spans = npt.NDArray[np.float64]


class Unit(StrEnum):
    """What the spans of a file are counted in."""

    SECONDS = "seconds"
    FRACTION = "fraction"  # of the video: 0 is its start, 1 its end

    @property
    def shown(self) -> str:
        """What it is, in a sentence."""
        return "seconds" if self is Unit.SECONDS else "fractions of the videos"


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """What there is to be found.

    Attributes:
        videos: Ids of the videos that have instances; only these are evaluated.
        labels: Class names.
        video: int64 [G], the video of each instance.
        label: int64 [G], its class.
        spans: float64 [G, 2], its start and end; every end is after its start.
        unit: Of the spans.
        durations_s: Seconds by video id, of those videos whose length the file tells.
        left_out: How many annotations were not taken, by reason.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: Indices
    label: Indices
    spans: Spans
    unit: Unit
    durations_s: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What was found, in the videos of a ground truth.

    Attributes:
        video: int64 [N].
        label: int64 [N].
        spans: float64 [N, 2], in the unit of the ground truth.
        scores: float64 [N], finite; only their order counts.
    """

    video: Indices
    label: Indices
    spans: Spans
    scores: npt.NDArray[np.float64]
