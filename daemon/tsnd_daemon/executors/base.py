"""The seam between batching and runtimes, and the one thread that a runtime lives in."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tsnd_daemon.snippets import Execution, FloatArray, Snippet


class Executor(Protocol):
    """Runs batches of one model. Made, used and closed in one thread."""

    def execute(self, snippets: Sequence[Snippet]) -> Mapping[str, FloatArray]:
        """Run a batch.

        Args:
            snippets: At least one, at most the max_batch_size it was made for.

        Returns:
            For each output, float32 with one row per snippet, in order; the arrays
            belong to the caller.

        Raises:
            ExecutorLost: When it cannot run anything any more.
            Exception: When this batch failed and others may succeed.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class ExecutorThread:
    """Owns the thread of an executor; the event loop talks to it here.

    A thread pool of one is a thread with a queue: a second batch can be handed over
    while one runs, and follows without a round trip through the event loop.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"executor-{name}")
        self._executor: Executor | None = None

    async def start(self, factory: Callable[[], Executor]) -> None:
        """Make the executor in its thread; raises what the factory raises."""
        loop = asyncio.get_running_loop()
        self._executor = await loop.run_in_executor(self._pool, factory)

    async def execute(self, snippets: Sequence[Snippet]) -> Execution:
        """Run a batch in the thread; raises what the executor raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._timed, snippets)

    async def close(self) -> None:
        """Close the executor in its thread, after the batches handed over, and end it."""
        if self._executor is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._executor.close)
            self._executor = None
        self._pool.shutdown()

    def _timed(self, snippets: Sequence[Snippet]) -> Execution:
        """Run a batch; timed here, for a batch that was handed over first waits its turn."""
        if self._executor is None:
            raise RuntimeError("execute() before start()")
        start_ns = time.monotonic_ns()
        outputs = self._executor.execute(snippets)
        return Execution(outputs, start_ns, time.monotonic_ns())
