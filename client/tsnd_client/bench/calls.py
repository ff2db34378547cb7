"""Calls of one stream that are independent of each other, as those of unary methods are."""

import asyncio
from collections.abc import Coroutine


class IndependentCalls:
    """Calls that were begun and have not ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: set[asyncio.Task[None]] = set()

    def begin(self, call: Coroutine[None, None, None]) -> None:
        """Let a call go on by itself; it must not raise."""
        task = asyncio.create_task(call)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def finish(self, patience_s: float) -> None:
        """Wait for the calls, then cancel those that are left, and wait for their ends."""
        if self._open:
            _, pending = await asyncio.wait(self._open, timeout=patience_s)
            for call in pending:
                call.cancel()
            if pending:
                await asyncio.wait(pending)
