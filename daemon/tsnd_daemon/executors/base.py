"""The seam between batching and runtimes, and the one thread that a runtime lives in.

    event loop ──► jobs ──► [ start(slot) ... finish(slot) ] ──► event loop
                             one thread: context, buffers

A slot is a batch's place in an executor: its buffers, on a GPU also its CUDA stream. With
two slots one batch is copied in while the other is computed.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from tsnd_daemon.snippets import Execution, FloatArray, Snippet

_T = TypeVar("_T")
_CLOSE_S = 5.0

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs batches of one model. Made, used and closed in one thread."""

    @property
    def slots(self) -> int:
        """Batches that it can have begun and not finished; at least 1."""
        ...

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch into a slot and begin to run it.

        Returns without waiting for the result where the runtime can compute meanwhile.

        Args:
            slot: One that is free: never started, or finished since; 0 <= slot < slots.
            snippets: At least one, at most the max_batch_size it was made for.

        Raises:
            ExecutorLost: When it cannot run anything any more.
            Exception: When this batch failed and others may succeed; the slot is free.
        """
        ...

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Wait for the batch of a slot, which is free afterwards, whatever comes of it.

        Batches are finished in the order in which they were started.

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


ExecutorFactory = Callable[[], Executor]
"""Makes an executor, in the thread that will own it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A batch on its way through the thread."""

    snippets: Sequence[Snippet]
    future: asyncio.Future[Execution]


@dataclass(frozen=True, slots=True, eq=False)
class _Started:
    """A batch in a slot."""

    job: _Job
    slot: int
    begun_ns: int
    ready_ns: int


class ExecutorThread:
    """Owns the thread of an executor; the event loop talks to it here.

    The thread is a daemon thread: one that hangs in a driver cannot keep the process.
    """

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"executor-{name}", daemon=True)
        self._factory: ExecutorFactory
        self._ready: asyncio.Future[int]
        self._closed: asyncio.Future[None]
        self.slots = 1
        self._end_ns = 0

    async def start(self, factory: ExecutorFactory) -> None:
        """Make the executor in its thread; raises what the factory raises."""
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._ready, self._closed = self._loop.create_future(), self._loop.create_future()
        self._thread.start()
        try:
            self.slots = await self._ready
        except asyncio.CancelledError:
            self._jobs.put(None)  # it closes as soon as it is made
            raise
        except Exception:
            self._thread.join()
            raise

    def submit(self, snippets: Sequence[Snippet]) -> asyncio.Future[Execution]:
        """Hand a batch to the thread.

        Returns:
            What it gave. Raises what the executor raises.
        """
        if not self._thread.is_alive():
            raise RuntimeError("submit() before start() or after close()")
        future: asyncio.Future[Execution] = self._loop.create_future()
        self._jobs.put(_Job(snippets, future))
        return future

    async def close(self) -> None:
        """Close the executor in its thread, after the batches handed over, and end it.

        A thread that does not end in a few seconds hangs, and is left behind.
        """
        if not self._thread.is_alive():
            return
        self._jobs.put(None)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._closed
        except TimeoutError:
            logger.warning("%s does not end, and is left behind", self._thread.name)
        else:
            self._thread.join()  # it has nothing left to do

    def _run(self) -> None:
        try:
            executor = self._factory()
        except BaseException as err:  # noqa: BLE001 - start() raises it, in the event loop
            self._tell(self._ready, err)
            self._tell(self._closed, None)
            return
        self._tell(self._ready, executor.slots)
        try:
            self._work(executor)
            executor.close()
        except BaseException as err:  # noqa: BLE001 - close() raises it
            self._tell(self._closed, err)
        else:
            self._tell(self._closed, None)

    def _work(self, executor: Executor) -> None:
        """Start batches while there are slots for them, finish them in order."""
        free = deque(range(executor.slots))
        started: deque[_Started] = deque()
        closing = False
        while not closing or started:
            job: _Job | None = None
            if free and not closing:
                with suppress(Empty):
                    # With nothing to finish there is nothing to do but wait for a batch.
                    job = self._jobs.get(block=not started)
                    closing = job is None
            if job is not None:
                self._start(executor, job, free, started)
            elif started:
                self._finish(executor, free, started)

    def _start(
        self, executor: Executor, job: _Job, free: deque[int], started: deque[_Started]
    ) -> None:
        slot, begun_ns = free[0], time.monotonic_ns()
        try:
            executor.start(slot, job.snippets)
        except BaseException as err:  # noqa: BLE001 - the batch's future raises it
            self._tell(job.future, err)
        else:
            started.append(_Started(job, free.popleft(), begun_ns, time.monotonic_ns()))

    def _finish(self, executor: Executor, free: deque[int], started: deque[_Started]) -> None:
        batch = started.popleft()
        free.append(batch.slot)
        try:
            outputs = executor.finish(batch.slot)
        except BaseException as err:  # noqa: BLE001 - the batch's future raises it
            self._tell(batch.job.future, err)
            return
        # It was computed from the end of the batch before, when that overlapped with it.
        start_ns = max(batch.begun_ns, self._end_ns)
        self._end_ns = time.monotonic_ns()
        execution = Execution(
            outputs,
            start_ns,
            self._end_ns,
            begun_ns=batch.begun_ns,
            ready_ns=batch.ready_ns,
            decode_ns=sum([snippet.decode_ns for snippet in batch.job.snippets]),
        )
        self._tell(batch.job.future, execution)

    def _tell(self, future: asyncio.Future[_T], result: _T | BaseException) -> None:
        """Settle a future of the event loop, which may be gone."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, future, result)


def _settle(future: asyncio.Future[_T], result: _T | BaseException) -> None:
    """Give a future its end, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(result, StopIteration):  # which no future takes
        result = RuntimeError("the executor raised StopIteration")
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
