"""Flow that is computed when it is asked for: each field once, in the processes of a pool."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise

from tsnd_client.closing import Closing
from tsnd_client.errors import VideoError
from tsnd_client.flow.stack import FlowField
from tsnd_client.flow.workers import FlowPool
from tsnd_client.images import Pixels, resize_bgr, to_grey
from tsnd_client.sources.base import Frame, StoredSource, require_indices

Size = tuple[int, int]

TSN_SIZE: Size = (340, 256)
"""Width and height to which TSN scales frames before it computes flow, pixels."""


class ComputedFlow(Closing):
    """The flow of a stored video; a `FlowSource`.

    Frames are scaled in colour, then made grey, as dense_flow does it.

    Args:
        source: The video; closed with this.
        pool: What computes; left open.
        size: Width and height of the fields, pixels; None: those of the frames.
    """

    def __init__(self, source: StoredSource, pool: FlowPool, size: Size | None = TSN_SIZE) -> None:
        self._source = source
        self._pool = pool
        self._size = size
        self.name = source.name

    @property
    def indices(self) -> range:
        """The fields that there are: range(1, N + 1), of a video of N + 1 frames.

        Raises:
            VideoError: The video cannot be read, or has fewer than two frames.
        """
        frames = self._source.indices
        if len(frames) < 2:
            raise VideoError(
                f"{self.name} has {len(frames)} frame, flow needs at least 2. Name a longer video."
            )
        return range(frames.start + 1, frames.stop)

    def fields_at(self, indices: Sequence[int]) -> Iterator[FlowField]:
        """Compute exactly these fields; see `FlowSource.fields_at`."""
        require_indices(indices, self.indices)
        computed = self.pairs_at(sorted(set(indices)))
        field: FlowField | None = None
        for index in indices:
            if field is None or field.index != index:
                _, field = next(computed)
            yield field

    def pairs_at(self, indices: Sequence[int]) -> Iterator[tuple[Pixels, FlowField]]:
        """Compute fields, and give each with the frame that it leads to.

        Args:
            indices: Ascending, without repeats.

        Yields:
            The frame, scaled, uint8 [H, W, 3] BGR, and the field.

        Raises:
            VideoError, FlowFailed: See `FlowSource.fields_at`.
        """
        later: deque[Pixels] = deque()
        planes = self._pool.fields(self._greys(indices, later))
        with closing(planes):
            for index, field in zip(indices, planes, strict=True):
                yield later.popleft(), FlowField(index, field)

    def close(self) -> None:
        """Close the video."""
        self._source.close()

    def _greys(
        self, indices: Sequence[int], later: deque[Pixels]
    ) -> Iterator[tuple[Pixels, Pixels]]:
        """Read the frames before and at each index; those at it are kept in `later`."""
        needed = sorted({frame for index in indices for frame in (index - 1, index)})
        are_wanted = set(indices)
        grey_before: Pixels | None = None
        for number, frame in zip(needed, self._source.frames_at(needed), strict=True):
            bgr = scaled(frame, self._size)
            grey = to_grey(bgr)
            if number in are_wanted and grey_before is not None:  # that of the frame before
                later.append(bgr)
                yield grey_before, grey
            grey_before = grey


def flow_between(
    frames: Iterable[Frame], pool: FlowPool, size: Size | None = TSN_SIZE
) -> Iterator[FlowField]:
    """Compute the flow of frames as they come, as of a live source.

    Where frames were dropped there is no field: two that do not follow one another give none.
    A field comes a few frames late, by how many the pool works on at a time.

    Args:
        frames: With ascending numbers.
        pool: What computes.
        size: Width and height of the fields, pixels; None: those of the frames.
    """
    numbers: deque[int] = deque()

    def pairs() -> Iterator[tuple[Pixels, Pixels]]:
        greys = ((frame.index, to_grey(scaled(frame, size))) for frame in frames)
        for (before, earlier), (index, later) in pairwise(greys):
            if index == before + 1:
                numbers.append(index)
                yield earlier, later

    for planes in pool.fields(pairs()):
        yield FlowField(numbers.popleft(), planes)


def scaled(frame: Frame, size: Size | None) -> Pixels:
    """Scale a frame's pixels: uint8 [H, W, 3]."""
    return frame.bgr if size is None else resize_bgr(frame.bgr, *size)
