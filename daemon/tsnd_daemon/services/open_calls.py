"""The calls that are open, which a daemon that stops lets end; all services share them."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from tsnd_daemon.errors import Draining, LimitReached


class Stream(Protocol):
    """A call that reads more than one message."""

    def stop_reading(self) -> None:
        """Answer what was accepted, and read nothing more."""
        ...


class OpenCalls:
    """Counts the calls that hold something to be answered, and drains them.

    Attributes:
        are_draining: Whether nothing is accepted any more.
    """

    def __init__(self, *, max_streams: int) -> None:
        """Begin without any.

        Args:
            max_streams: Most streams that are open at a time.
        """
        self.are_draining = False
        self._max_streams = max_streams
        self._count = 0
        self._streams: set[Stream] = set()
        self._all_answered = asyncio.Event()

    @contextlib.contextmanager
    def track(self, stream: Stream | None = None) -> Iterator[None]:
        """Count a call that `drain` must wait for.

        Args:
            stream: Told to stop reading then; None for a call of one message.

        Raises:
            LimitReached: When as many streams are open as may be.
        """
        if stream is not None and len(self._streams) >= self._max_streams:
            raise LimitReached(
                f"{len(self._streams)} streams are open here, as many as may be (max_streams). Try "
                "later, or send this one to another daemon."
            )
        self._count += 1
        if stream is not None:
            self._streams.add(stream)
        try:
            yield
        finally:
            if stream is not None:
                self._streams.discard(stream)
            self._count -= 1
            if not self._count:
                self._all_answered.set()

    def refuse_new(self, what: str) -> None:
        """Refuse something while draining.

        Args:
            what: What is refused, for the message.

        Raises:
            Draining: When nothing is accepted any more.
        """
        if self.are_draining:
            raise Draining(f"the daemon is stopping; send the {what} to another, or try later.")

    def end_stream(self) -> None:
        """Say why a stream has ended; raises Draining when that was the daemon's wish."""
        if self.are_draining:
            raise Draining(
                "the daemon is stopping. All that it had accepted on this stream is answered; "
                "send the rest to another, or reconnect."
            )

    async def drain(self) -> bool:
        """Accept nothing more, and wait until all that was accepted is answered.

        Open streams stop reading, answer what they hold, and end with UNAVAILABLE; so does
        every new call.

        Returns:
            Whether anyone had to be answered.
        """
        self.are_draining = True
        for stream in self._streams:
            stream.stop_reading()
        if not self._count:
            return False
        self._all_answered.clear()
        await self._all_answered.wait()
        return True
