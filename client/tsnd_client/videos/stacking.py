"""Flow snippets out of flow fields in order: each field is kept while a stack needs it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.uint8]


class Stacker:
    """Gathers fields into stacks; holds at most as many as the stacks that have begun need."""

    def __init__(self, stacks: Mapping[int, Sequence[int]]) -> None:
        """Take what is wanted.

        Args:
            stacks: By tick, the fields of its stack, of which the last is the greatest.
        """
        # Neither first nor last fields go back from one tick to the next.
        self._waiting = deque(sorted(stacks.items()))
        self._fields: dict[int, Planes] = {}

    def add(self, field: int, planes: Planes) -> Iterator[tuple[int, Planes]]:
        """Add a field, and give out the stacks that are complete with it.

        Args:
            field: Its number; those that stacks need must come in ascending order.
            planes: uint8 [2, H, W], x and y.

        Yields:
            Ticks, and their stacks uint8 [2 * depth, H, W] as planes x0, y0, x1, y1, ...
        """
        self._fields[field] = planes
        while self._waiting and self._waiting[0][1][-1] <= field:
            tick, fields = self._waiting.popleft()
            yield tick, np.concatenate([self._fields[each] for each in fields])
        least = self._waiting[0][1][0] if self._waiting else field + 1
        for stale in [each for each in self._fields if each < least]:
            del self._fields[stale]
