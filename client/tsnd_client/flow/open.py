"""Chooses where flow comes from: images of it in a folder, else a video file to compute it of."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

from tsnd_client.flow.computed import TSN_SIZE, ComputedFlow, Size
from tsnd_client.flow.stack import FlowField
from tsnd_client.flow.workers import FlowPool
from tsnd_client.sources.folder import FlowFolder
from tsnd_client.sources.open import open_stored


class FlowSource(Protocol):
    """The flow of a stored video, any field of which can be had at any time."""

    @property
    def name(self) -> str:
        """What the user called it, for messages."""

    @property
    def indices(self) -> range:
        """The fields that there are; field j leads from frame j - 1 to frame j, the first is 1.

        Raises:
            VideoError: There is nothing that can be read.
        """

    def fields_at(self, indices: Sequence[int]) -> Iterator[FlowField]:
        """Get exactly these fields, each read or computed once.

        Args:
            indices: Ascending; repeats are allowed.

        Raises:
            ValueError: They are not ascending.
            IndexError: One of them is not in `indices`.
            VideoError: A file changed, is broken, or became unreadable.
            FlowFailed: A process that computes them ended.
        """

    def close(self) -> None:
        """Let go of files."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(self, *about: object) -> None:
        """Close it."""


def open_flow(
    name: str | Path, pool: FlowPool, *, size: Size | None = TSN_SIZE, hardware: bool = False
) -> FlowSource:
    """Open the flow of a video.

    Args:
        name: A folder of flow_x_ and flow_y_ images, or a video file.
        pool: What computes the flow of a file; it starts nothing before that.
        size: Width and height at which flow is computed, pixels; None: those of the video.
            Images of a folder have the size that they have.
        hardware: Whether a file is decoded with a device, where the machine has one.

    Raises:
        InputError: The name stands for a camera, an address or a pipe.
        VideoError: A folder that cannot be used.
    """
    if Path(name).is_dir():
        return FlowFolder(name)
    return ComputedFlow(open_stored(name, hardware=hardware), pool, size)
