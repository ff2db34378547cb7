"""A bounded queue between threads that can end, and that can be torn down from both sides."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosed(Exception):
    """Nobody takes what would be put."""


class Channel(Generic[T]):
    """First in, first out, between any threads; a full one makes whoever puts wait."""

    def __init__(self, capacity: int) -> None:
        """Make an empty one.

        Args:
            capacity: Most items that wait in it, at least 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._has_ended = False

    def put(self, item: T) -> None:
        """Add an item; waits while the channel is full.

        Raises:
            ChannelClosed: The channel has ended, or does so meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or len(self._items) < self._capacity)
            if self._has_ended:
                raise ChannelClosed
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """Take nothing more; what is in it is still given out."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """End, and forget what is in it."""
        with self._changed:
            self._items.clear()
            self._has_ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Give items out, each to one thread only, until the channel has ended."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._has_ended)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
