"""Puts the images or flow fields of one video together into snippets."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tsnd_builder.calibration.sampling import stack_indices
from tsnd_builder.serving_graph import Modality

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SnippetSpec:
    """What a model takes for one snippet.

    Attributes:
        modality: Images (rgb) or flow fields.
        frame_height: Pixels, of either.
        frame_width: Likewise.
        stack_depth: Flow fields per snippet; of no meaning for rgb.
    """

    modality: Modality
    frame_height: int
    frame_width: int
    stack_depth: int

    @property
    def depth(self) -> int:
        """Images or flow fields per snippet."""
        return self.stack_depth if self.modality is Modality.FLOW else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one snippet: [H, W, 3] for rgb, [2 * stack_depth, H, W] for flow."""
        if self.modality is Modality.FLOW:
            return (2 * self.stack_depth, self.frame_height, self.frame_width)
        return (self.frame_height, self.frame_width, 3)


class Video(Protocol):
    """One video, of one modality, in the size that the model takes."""

    def count(self) -> int:
        """Return how many images or flow fields it has, at least 1.

        Raises:
            CalibrationError: It cannot be read, or has none.
        """

    def read(self, indices: Sequence[int]) -> Generator[Pixels, None, None]:
        """Read some of them, in order and one at a time.

        Args:
            indices: Their numbers, from 1, ascending.

        Yields:
            An image, uint8 [H, W, 3] BGR, or a flow field, uint8 [2, H, W], x and y.

        Raises:
            CalibrationError: It cannot be read.
        """


def read_snippets(
    video: Video, ticks: Sequence[int], *, count: int, spec: SnippetSpec
) -> Generator[Pixels, None, None]:
    """Read the snippets that start at `ticks`.

    Args:
        video: Where from.
        ticks: Numbers of first images or flow fields, ascending.
        count: How many of those the video has.
        spec: What a snippet is.

    Yields:
        uint8 of the shape of a snippet, one per tick.

    Raises:
        CalibrationError: The video cannot be read.
    """
    stacks = [stack_indices(tick, count=count, stack_depth=spec.depth) for tick in ticks]
    needed = sorted({index for stack in stacks for index in stack})
    held: dict[int, Pixels] = {}  # of one snippet, the start of the next may be among them
    with closing(video.read(needed)) as images:
        arriving = zip(needed, images, strict=True)
        for stack in stacks:
            held = {index: image for index, image in held.items() if index >= stack[0]}
            while stack[-1] not in held:
                index, held[index] = next(arriving)
            parts = [held[index] for index in stack]
            yield parts[0] if spec.modality is Modality.RGB else np.concatenate(parts)
