"""Orders what waits: by priority, and within a priority fairly between streams.

A plain data structure: no clock, no event loop. Among the streams of one priority it is
deficit round robin (Shreedhar and Varghese, 1995), with a snippet as the unit of cost, and
with a stream's first turn at once, as in FQ-CoDel (RFC 8290): one that sends little does
not wait for the turns of those that send much. A stream has that only once for each time
that it has passed through the round, so nobody can live on first turns.
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
    deficit: int
    items: OrderedDict[T, None] = field(default_factory=OrderedDict)


@dataclass(slots=True, eq=False)
class _Level(Generic[T]):
    """The streams of one priority.

    Attributes:
        streams: All of them. One with nothing left stays until its turn comes.
        first_turns: Those that have come anew; the first has its turn.
        round: The others; the first has its turn when nobody has come anew.
        size: Items of all of them.
    """

    streams: dict[Hashable, _Stream[T]] = field(default_factory=dict)
    first_turns: deque[_Stream[T]] = field(default_factory=deque)
    round: deque[_Stream[T]] = field(default_factory=deque)
    size: int = 0

    def forget_streams(self) -> None:
        """Forget who had a turn; nobody waits who could mind."""
        self.streams.clear()
        self.first_turns.clear()
        self.round.clear()


class FairQueue(Generic[T]):
    """Items, each of a stream and with a priority."""

    def __init__(self, quantum: int = 1) -> None:
        """Make an empty queue.

        Args:
            quantum: Items that a stream may have taken in one turn. More keeps together
                what was sent together.
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
            found = level.streams[stream] = _Stream(stream, self._quantum)
            level.first_turns.append(found)
        found.items[item] = None
        level.size += 1
        self._size += 1

    def pop(self) -> T:
        """Take the next item.

        That is the oldest of the stream whose turn it is, in the highest priority that
        has any.

        Raises:
            IndexError: When the queue is empty.
        """
        for level in self._levels:
            if level.size:
                self._size -= 1
                return self._next(level)
        raise IndexError("pop from an empty queue")

    def _next(self, level: _Level[T]) -> T:
        """Take the next item of a level that has one."""
        while True:
            turns = level.first_turns or level.round
            stream = turns[0]
            if not stream.items and turns is level.round:
                turns.popleft()
                del level.streams[stream.key]
            elif not stream.items or not stream.deficit:
                stream.deficit = self._quantum
                level.round.append(turns.popleft())
            else:
                stream.deficit -= 1
                item, _ = stream.items.popitem(last=False)
                self._took_one(level)
                return item

    def _took_one(self, level: _Level[T]) -> None:
        level.size -= 1
        if not level.size:
            level.forget_streams()

    def remove(self, item: T, *, stream: Hashable, priority: int) -> None:
        """Take an item out of turn; with the stream and priority it was pushed with.

        Raises:
            KeyError: When it is not there.
        """
        level = self._levels[priority]
        del level.streams[stream].items[item]
        self._size -= 1
        self._took_one(level)

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
            if self._levels[lower].size:
                return _newest(max(self._levels[lower].streams.values(), key=_length))
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
