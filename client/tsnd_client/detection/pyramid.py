"""The structured temporal pyramid: which ticks the parts of a proposal are made of.

A proposal is extended by half its length on both sides, as far as the video goes. That gives
three stages: starting, course and ending. Each level of a stage cuts it into equal parts.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats
from tsnd_client.errors import DetectionError

STAGES = 3


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Into how many parts each level of a stage is cut.

    Attributes:
        starting: Parts of each level of the extension before the proposal.
        course: Parts of each level of the proposal itself.
        ending: Parts of each level of the extension after it.

    Raises:
        DetectionError: A level has no parts.
    """

    starting: tuple[int, ...] = (1,)
    course: tuple[int, ...] = (1,)
    ending: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if min(self.levels(), default=1) < 1:
            raise DetectionError(f"expected at least 1 part a level of the pyramid, got {self}.")

    @classmethod
    def of(cls, *stages: int | tuple[int, ...] | list[int]) -> Self:
        """Build one of stages as SSN's configuration lists them: 1, (1, 2), 1.

        Raises:
            DetectionError: These are not three stages, or a level has no parts.
        """
        if len(stages) != STAGES:
            raise DetectionError(f"expected starting, course and ending, got {len(stages)} stages.")
        return cls(*((stage,) if isinstance(stage, int) else tuple(stage) for stage in stages))

    def levels(self) -> tuple[int, ...]:
        """Parts of every level, in the order of their columns."""
        return (*self.starting, *self.course, *self.ending)

    @property
    def parts(self) -> int:
        """Parts of a proposal over all levels."""
        return sum(self.levels())


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """Where proposals and their extensions are among the ticks of a video.

    Attributes:
        ticks: int64 [n, 4], where starting, course and ending begin and where ending ends.
        scaling: float64 [n, 2], how much of the extension before and after is inside the
            video, from 0 to 1.
    """

    ticks: npt.NDArray[np.int64]
    scaling: Floats


def locate(relative: Floats, ticks: int) -> Extent:
    """Extend proposals and find their ticks (`SSNDataSet`, its test branch).

    Args:
        relative: float64 [n, 2], fractions of the video with 0 <= start < end <= 1.
        ticks: Ticks of the video.
    """
    starts, ends = relative.T
    extension = 0.5 * (ends - starts)
    before, after = np.maximum(0, starts - extension), np.minimum(1, ends + extension)
    edges = np.stack([before, starts, ends, after], axis=1)
    scaling = np.stack([(starts - before) / extension, (after - ends) / extension], axis=1)
    return Extent((edges * ticks).astype(np.int64), scaling)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of every proposal.

    Attributes:
        first: int64 [n], its first tick.
        last: int64 [n], the tick after its last one; never less than `first`.
        weight: float64 [n], what its mean is multiplied with; 0 where it is outside the video
            or has no tick.
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    weight: Floats


def cut(extent: Extent, pyramid: Pyramid, ticks: int) -> list[Part]:
    """Cut proposals into the parts of the pyramid, in the order of their columns.

    Args:
        extent: Of n proposals.
        pyramid: Its parts.
        ticks: Ticks of the video.
    """
    weights = (extent.scaling[:, 0], np.ones(len(extent.ticks)), extent.scaling[:, 1])
    parts = []
    for stage, levels in enumerate((pyramid.starting, pyramid.course, pyramid.ending)):
        low = extent.ticks[:, stage]
        high = np.maximum(low + 1, extent.ticks[:, stage + 1])
        inside = np.where((high > 0) & (low < ticks), weights[stage], 0)
        for level in levels:
            parts += _cut_level(low, high, level, inside)
    return parts


def _cut_level(
    low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], level: int, weight: Floats
) -> list[Part]:
    # The original cuts at NumPy's arange, which adds multiples of this rounded step; truncated,
    # they may leave out a tick at a third, even the last one.
    step = (low + (high - low) / level) - low
    edges = [(low + index * step).astype(np.int64) for index in range(level + 1)]
    return [Part(first, last, np.where(last > first, weight, 0)) for first, last in pairwise(edges)]
