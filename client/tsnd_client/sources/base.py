"""What every frame source gives, whatever it reads: this file loads neither PyAV nor OpenCV.

A frame keeps the number that it has in its video, counted from 0, wherever it is read
from. TSN's image j is video frame j (dense_flow never writes frame 0), so TSN's ticks,
which count from 1, are frame numbers as they stand:

    video file of F frames          frames 0 .. F-1
    dense_flow folder of N images   frames 1 .. N      (F = N + 1)
    denseflow folder of F images    frames 0 .. F-1

and flow field j leads from frame j-1 to frame j.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        index: Its number in its video, from 0. Of a live source: how many frames came
            before it, those that were dropped included.
        time_s: When it is shown, seconds from the start of the video. Of a live source:
            when it came, seconds from the first frame.
        bgr: uint8 [H, W, 3].
    """

    index: int
    time_s: float
    bgr: Pixels


@dataclass(slots=True)
class Counters:
    """What a source left out on the way; it counts on while frames are read.

    Attributes:
        broken: Frames that could not be decoded, or in part only.
        dropped: Frames of a live source that were not taken in time.
        reconnects: How often a live source was connected anew.
        first_reason: What was wrong with the first broken frame, in words.
    """

    broken: int = 0
    dropped: int = 0
    reconnects: int = 0
    first_reason: str | None = None

    def add_broken(self, reason: str) -> None:
        """Count a broken frame."""
        self.broken += 1
        self.first_reason = self.first_reason or reason


class FrameSource(Protocol):
    """Frames from anywhere, in the order in which they are shown. A context manager."""

    @property
    def name(self) -> str:
        """What the user called it, for messages."""

    @property
    def is_live(self) -> bool:
        """Whether frames come when they come, and are dropped when nobody takes them."""

    @property
    def counters(self) -> Counters:
        """What was left out so far."""

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Read on from the start, one frame in memory at a time.

        Args:
            stride: Frames whose index is no multiple of it are left out, cheaply. Of a live
                source: at least so many come between two that are yielded.

        Raises:
            ValueError: `stride` is less than 1.
            VideoError: There is nothing that can be read.
            SourceLost: A live source ended, and stayed away.
        """

    def close(self) -> None:
        """Let go of files, devices and threads; what iterates ends."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(self, *about: object) -> None:
        """Close it."""


@runtime_checkable
class StoredSource(FrameSource, Protocol):
    """Frames that stay where they are, so that any of them can be read at any time."""

    @property
    def indices(self) -> range:
        """The frames that it has: range(0, F), or range(1, N + 1) for dense_flow's images.

        TSN's number of images is `indices.stop - 1`. The first access may read the whole
        file, without decoding it where that is possible; headers estimate, or lie.

        Raises:
            VideoError: There is nothing that can be read.
        """

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Read exactly these frames, as decoding from the start would give them.

        Args:
            indices: Ascending; repeats are allowed.

        Yields:
            One frame per index, with that index. In the place of a broken frame come the
            pixels and the time of the next good one (else of the last one); it counts as
            broken.

        Raises:
            ValueError: They are not ascending.
            IndexError: One of them is not in `indices`.
            VideoError: A file changed or became unreadable.
        """


def require_stride(stride: int) -> None:
    """Refuse a stride of less than 1.

    Raises:
        ValueError: It is.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")


def require_indices(indices: Sequence[int], within: range) -> None:
    """Refuse indices that are not ascending, or not there.

    Raises:
        ValueError: They are not ascending.
        IndexError: One of them is outside `within`.
    """
    if any(later < earlier for earlier, later in pairwise(indices)):
        raise ValueError(f"indices must be ascending, got {list(indices[:10])}")
    outside = next((index for index in indices if index not in within), None)
    if outside is not None:
        raise IndexError(f"there is no frame {outside}, only {within.start} to {within.stop - 1}")
