"""Flow that is computed when it is asked for: each field once, in the processes of a pool."""

from collections.abc import Iterable, Iterator, Sequence
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
        wanted = sorted(set(indices))
        planes = self._pool.fields(self._pairs(wanted))
        field: FlowField | None = None
        for index in indices:
            if field is None or field.index != index:
                field = FlowField(index, next(planes))
            yield field

    def close(self) -> None:
        """Close the video."""
        self._source.close()

    def _pairs(self, wanted: Sequence[int]) -> Iterator[tuple[Pixels, Pixels]]:
        needed = sorted({frame for index in wanted for frame in (index - 1, index)})
        are_wanted = set(wanted)
        frames = self._source.frames_at(needed)
        greys = zip(needed, (grey_of(frame, self._size) for frame in frames), strict=True)
        for (_, earlier), (index, later) in pairwise(greys):
            if index in are_wanted:  # then the one before was needed, and came just before
                yield earlier, later


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
    numbers: list[int] = []

    def pairs() -> Iterator[tuple[Pixels, Pixels]]:
        greys = ((frame.index, grey_of(frame, size)) for frame in frames)
        for (before, earlier), (index, later) in pairwise(greys):
            if index == before + 1:
                numbers.append(index)
                yield earlier, later

    for planes in pool.fields(pairs()):
        yield FlowField(numbers.pop(0), planes)


def grey_of(frame: Frame, size: Size | None) -> Pixels:
    """Scale a frame, then make it grey: uint8 [H, W]."""
    return to_grey(frame.bgr if size is None else resize_bgr(frame.bgr, *size))
