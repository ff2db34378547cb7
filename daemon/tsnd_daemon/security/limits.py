"""What the calls of one token hold at a time, and the refusal of more; on the event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tsnd_daemon.errors import LimitReached


class Usage:
    """What one token's calls hold now, on whatever connections they come.

    Attributes:
        streams: Its open streams.
        in_flight: Its snippets that are accepted and not answered.
    """

    def __init__(self) -> None:
        self.streams = 0
        self.in_flight = 0

    @contextmanager
    def stream(self, most: int | None) -> Iterator[None]:
        """Count a stream while it is open.

        Args:
            most: As many as may be open; None is without limit.

        Raises:
            LimitReached: When so many are open already.
        """
        if most is not None and self.streams >= most:
            raise LimitReached(
                f"{self.streams} streams of this token are open, as many as may be (max_streams). "
                "Close one first."
            )
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def check_room(self, count: int, most: int) -> None:
        """Refuse snippets for which there is no room; raises LimitReached."""
        if self.in_flight + count > most:
            raise LimitReached(
                f"{self.in_flight} snippets of this token are unanswered, and it may have {most} "
                "(max_in_flight): send more when some have been answered."
            )

    def hold(self, scores: "asyncio.Future[Any]") -> None:
        """Count a snippet until it is answered."""
        self.in_flight += 1
        scores.add_done_callback(self._release)

    def _release(self, _scores: "asyncio.Future[Any]") -> None:
        self.in_flight -= 1
