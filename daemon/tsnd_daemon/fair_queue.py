"""Orders what waits: by priority, and within a priority fairly between streams.

A plain data structure: no clock, no event loop. Among the streams of one priority it is
deficit round robin (Shreedhar and Varghese, 1995), with a snippet as the unit of cost.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

PRIORITIES = 3
"""Real time (0), normal (1) and bulk (2)."""


@dataclass(slots=True, eq=False)
class _Stream(Generic[T]):
    """What waits of one stream, oldest first; `deficit` is what is left of its turn."""

    key: Hashable
    items: OrderedDict[T, None] = field(default_factory=OrderedDict)
    deficit: int = 0


@dataclass(slots=True, eq=False)
class _Level(Generic[T]):
    """The streams of one priority that have something waiting; the first has its turn."""

    streams: dict[Hashable, _Stream[T]] = field(default_factory=dict)
    turns: deque[_Stream[T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """Items, each of a stream and with a priority."""

    def __init__(self, quantum: int = 1) -> None:
        """Make an empty queue.

        Args:
            quantum: Items that a stream may have taken in one turn. One is kindest to
                streams that send little; more keeps together what was sent together.
        """
        self._quantum = quantum
        self._levels: list[_Level[T]] = [_Level() for _ in range(PRIORITIES)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """Iterate over all items, in no particular order."""
        for level in self._levels:
            for stream in level.streams.values():
                yield from stream.items

    def push(self, item: T, *, stream: Hashable, priority: int) -> None:
        """Add an item at the end of its stream."""
        level = self._levels[priority]
        found = level.streams.get(stream)
        if found is None:
            found = level.streams[stream] = _Stream(stream)
            level.turns.append(found)
        found.items[item] = None
        self._size += 1

    def pop(self) -> T:
        """Take the next item.

        That is the oldest of the stream whose turn it is, in the highest priority that
        has any.

        Raises:
            IndexError: When the queue is empty.
        """
        level = next((level for level in self._levels if level.turns), None)
        if level is None:
            raise IndexError("pop from an empty queue")
        stream = level.turns[0]
        if stream.deficit == 0:
            stream.deficit = self._quantum
        item, _ = stream.items.popitem(last=False)
        stream.deficit -= 1
        self._size -= 1
        if not stream.items:
            level.turns.popleft()
            del level.streams[stream.key]
        elif stream.deficit == 0:
            level.turns.rotate(-1)
        return item

    def remove(self, item: T, *, stream: Hashable, priority: int) -> None:
        """Take an item out of turn; with the stream and priority it was pushed with.

        Raises:
            KeyError: When it is not there.
        """
        level = self._levels[priority]
        found = level.streams[stream]
        del found.items[item]
        self._size -= 1
        if not found.items:
            level.turns.remove(found)
            del level.streams[stream]

    def victim(self, *, stream: Hashable, priority: int) -> T | None:
        """Say whose place in a full queue a newcomer may take.

        The lowest priority gives first, then, within it, the stream with the most that
        waits. In its own priority a newcomer takes a place only of a stream that keeps as
        many as the newcomer's then has.

        Args:
            stream: The newcomer's.
            priority: The newcomer's.

        Returns:
            The newest item of that stream, which is still in the queue; None when the
            newcomer has to go.
        """
        for lower in range(PRIORITIES - 1, priority, -1):
            if streams := self._levels[lower].streams:
                return _newest(max(streams.values(), key=_length))
        streams = self._levels[priority].streams
        longest = max(streams.values(), key=_length, default=None)
        own = _length(streams[stream]) if stream in streams else 0
        if longest is None or _length(longest) < own + 2:
            return None
        return _newest(longest)


def _length(stream: _Stream[T]) -> int:
    return len(stream.items)


def _newest(stream: _Stream[T]) -> T:
    return next(reversed(stream.items))
