"""Orders what waits: by priority, and within a priority fairly between streams.

A plain data structure: no clock, no event loop. Among the streams of one priority it is
deficit round robin (Shreedhar and Varghese, 1995), with a snippet as the unit of cost, and
with a stream's first turn at once, much as in FQ-CoDel (RFC 8290): one that sends little
does not wait for the turns of all that send much. But after each first turn comes a turn of
the round, if who is next there has waited longer than the next newcomer: so streams that
come anew all the time keep nobody waiting for ever.
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
    """What waits of one stream, oldest first.

    Attributes:
        key: The stream.
        deficit: What is left of its turn.
        since: Grows with every stream that begins to wait for a turn.
    """

    key: Hashable
    deficit: int
    since: int
    items: OrderedDict[T, None] = field(default_factory=OrderedDict)


@dataclass(slots=True, eq=False)
class _Level(Generic[T]):
    """The streams of one priority.

    Attributes:
        streams: All of them.
        first_turns: Those that have come anew, in that order.
        round: The others, in the order of their turns.
        owes_round: Whether the last turn was a first one.
        waits_begun: How many streams have begun to wait for a turn.
        size: Items of all of them.
    """

    streams: dict[Hashable, _Stream[T]] = field(default_factory=dict)
    first_turns: deque[_Stream[T]] = field(default_factory=deque)
    round: deque[_Stream[T]] = field(default_factory=deque)
    owes_round: bool = False
    waits_begun: int = 0
    size: int = 0

    def next_turns(self) -> deque[_Stream[T]]:
        """Return whose first has the turn: the newcomers, or the round."""
        if not self.first_turns or not self.round:
            return self.first_turns or self.round
        is_senior = self.round[0].since < self.first_turns[0].since
        return self.round if self.owes_round and is_senior else self.first_turns

    def begin_wait(self) -> int:
        """Return the `since` of a stream that waits for a turn from now on."""
        self.waits_begun += 1
        return self.waits_begun


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
            found = _Stream(stream, self._quantum, level.begin_wait())
            level.streams[stream] = found
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
        turns = level.next_turns()
        stream = turns[0]
        item, _ = stream.items.popitem(last=False)
        level.size -= 1
        stream.deficit -= 1
        if not stream.items or not stream.deficit:
            turns.popleft()
            level.owes_round = turns is level.first_turns
            if stream.items:
                stream.deficit, stream.since = self._quantum, level.begin_wait()
                level.round.append(stream)
            else:
                del level.streams[stream.key]
        return item

    def remove(self, item: T, *, stream: Hashable, priority: int) -> None:
        """Take an item out of turn; with the stream and priority it was pushed with.

        Raises:
            KeyError: When it is not there.
        """
        level = self._levels[priority]
        found = level.streams[stream]
        del found.items[item]
        level.size -= 1
        self._size -= 1
        if not found.items:
            del level.streams[stream]
            (level.first_turns if found in level.first_turns else level.round).remove(found)

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
