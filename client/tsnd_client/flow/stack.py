"""Flow stacks, which are what a flow network scores: 5 fields, x and y interleaved. Pure NumPy.

Neighbouring stacks overlap: at one tick a frame, each field is in five of them. So fields
are taken from one ascending sequence, each once, and kept no longer than a stack needs them.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STACK_DEPTH = 5
"""Fields of a stack (`stack_depth` of TSN's `tools/eval_net.py`)."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowField:
    """The quantised flow from one frame to the next.

    Attributes:
        index: The frame that it leads to; it comes from the one before. The first is 1.
        planes: uint8 [2, H, W], x then y.
    """

    index: int
    planes: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class FlowStack:
    """One snippet of a flow network.

    Attributes:
        index: Its tick, the number of its first field.
        pixels: uint8 [2 * depth, H, W]: x, y of its first field, x, y of the next, ...
    """

    index: int
    pixels: npt.NDArray[np.uint8]


def stack_indices(tick: int, last: int, depth: int = STACK_DEPTH) -> tuple[int, ...]:
    """Number the fields of one stack: those past the last one repeat it, as in TSN.

    Args:
        tick: Number of the first field.
        last: Number of the last field that there is.
        depth: Fields of a stack.
    """
    return tuple(min(last, tick + offset) for offset in range(depth))


def field_indices(ticks: Iterable[int], last: int, depth: int = STACK_DEPTH) -> list[int]:
    """Number the fields that the stacks of some ticks need, each once, ascending."""
    return sorted({index for tick in ticks for index in stack_indices(tick, last, depth)})


def flow_stacks(
    fields: Iterable[FlowField], ticks: Sequence[int], last: int, depth: int = STACK_DEPTH
) -> Iterator[FlowStack]:
    """Stack fields as they come; at most `depth` of them are kept.

    Args:
        fields: Those of `field_indices(ticks, last, depth)`, in that order.
        ticks: Number of the first field of every stack, ascending; repeats are allowed.
        last: Number of the last field that there is.
        depth: Fields of a stack.

    Yields:
        One stack per tick.

    Raises:
        ValueError: The ticks are not ascending, or a field of a stack did not come.
    """
    coming = iter(fields)
    window: deque[FlowField] = deque()
    before = 0
    for tick in ticks:
        if tick < before:
            raise ValueError(f"ticks must be ascending, got {tick} after {before}")
        before = tick
        wanted = stack_indices(tick, last, depth)
        while window and window[0].index < wanted[0]:
            window.popleft()
        while not window or window[-1].index < wanted[-1]:
            field = next(coming, None)
            if field is None:
                raise ValueError(f"the fields ended before those of tick {tick}, {wanted}")
            if field.index >= wanted[0]:
                window.append(field)
        yield FlowStack(tick, _stack(window, wanted))


def _stack(window: Iterable[FlowField], wanted: Sequence[int]) -> npt.NDArray[np.uint8]:
    planes = {field.index: field.planes for field in window}
    missing = sorted(set(wanted) - planes.keys())
    if missing:
        raise ValueError(f"fields {missing} did not come, of the stack {list(wanted)}")
    return np.concatenate([planes[index] for index in wanted])
