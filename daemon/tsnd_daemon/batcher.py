"""Forms batches of one model's snippets and hands them to its executor.

Runs on the event loop alone, so it needs no locks. `decide` is a pure function; the
Batcher is the task around it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tsnd_daemon.errors import DeadlineExpired, ExecutionFailed, ExecutorLost, QueueFull
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

MAX_BATCHES_IN_HAND = 2
"""One runs; one more is handed over, to follow at once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Close:
    """Form a batch now, of this many of the oldest snippets."""

    size: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait this long, or (None) until something changes."""

    ns: int | None


def decide(
    *, pending: int, oldest_ns: int, now_ns: int, batches_in_hand: int, policy: BatchPolicy
) -> Close | Wait:
    """Say whether the pending snippets form a batch yet.

    An idle executor gets a batch as soon as it is full or its oldest snippet has waited
    max_queue_delay_us. A busy one gets only a full batch: to close a smaller one early
    would gain nothing and keep later snippets out of it.

    Args:
        pending: Snippets that wait.
        oldest_ns: When the oldest of them arrived, on a monotonic clock; any, if none.
        now_ns: The same clock, now.
        batches_in_hand: Batches that the executor runs or has been handed.
        policy: Bounds on batch size (snippets) and queue delay (microseconds).

    Returns:
        `Close` with the batch's size, or `Wait` with the time after which to ask again.
    """
    if pending == 0 or batches_in_hand >= MAX_BATCHES_IN_HAND:
        return Wait(ns=None)
    if pending >= policy.max_batch_size:
        return Close(size=policy.max_batch_size)
    if batches_in_hand:
        return Wait(ns=None)
    left_ns = oldest_ns + policy.max_queue_delay_us * 1_000 - now_ns
    return Close(size=pending) if left_ns <= 0 else Wait(ns=left_ns)


class BatchRunner(Protocol):
    """What a batcher hands batches to; ExecutorThread is one."""

    async def execute(self, snippets: Sequence[Snippet]) -> Execution:
        """Run a batch; one row per snippet in every output."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A snippet that waits, and where its scores go."""

    snippet: Snippet
    future: asyncio.Future[Scores]
    enqueued_ns: int
    deadline_ns: int | None


class Batcher:
    """The queue of one model and the task that empties it."""

    def __init__(
        self,
        model: str,
        runner: BatchRunner,
        policy: BatchPolicy,
        metrics: Metrics,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Make an idle batcher; `run` is its task.

        Args:
            model: The model's name, for metrics and messages.
            runner: Runs its batches.
            policy: Bounds.
            metrics: Where it reports.
            clock: Monotonic nanoseconds.
        """
        self._model = model
        self._runner = runner
        self._policy = policy
        self._clock = clock
        self._pending: deque[_Entry] = deque()
        self._batches_in_hand = 0
        self._changed = asyncio.Event()
        self._pending_gauge = metrics.pending.labels(model)
        self._executions = metrics.executions.labels(model)
        self._inferences = metrics.inferences.labels(model)
        self._batch_size = metrics.batch_size.labels(model)
        self._queue_delay = metrics.queue_delay.labels(model)
        self._execution = metrics.execution.labels(model)
        self._duration = metrics.snippet_duration.labels(model)

    def submit(self, snippet: Snippet, *, deadline_ns: int | None = None) -> asyncio.Future[Scores]:
        """Accept a snippet.

        Args:
            snippet: A validated snippet of this model.
            deadline_ns: When its scores lose their use, on the batcher's clock. It is
                then dropped, if it has not begun to run.

        Returns:
            A future of its scores. Cancelling it withdraws a snippet that still waits.

        Raises:
            QueueFull: When as many wait as may.
        """
        if len(self._pending) >= self._policy.max_queue_size:
            self._drop_dead()  # those of clients that have gone take nobody's place
        if len(self._pending) >= self._policy.max_queue_size:
            raise QueueFull(
                f"model {self._model!r} has {len(self._pending)} snippets waiting, its bound "
                "(max_queue_size). Send fewer at once, or try again later."
            )
        future: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        self._pending.append(_Entry(snippet, future, self._clock(), deadline_ns))
        self._pending_gauge.inc()
        if len(self._pending) == 1 or len(self._pending) >= self._policy.max_batch_size:
            self._changed.set()
        return future

    async def run(self) -> None:
        """Form batches until cancelled; a lost executor ends it with ExecutorLost."""
        async with asyncio.TaskGroup() as executions:
            while True:
                self._drop_dead()
                match self._decide():
                    case Close(size):
                        entries = [self._pending.popleft() for _ in range(size)]
                        self._batches_in_hand += 1
                        executions.create_task(self._execute(entries))
                    case Wait(ns):
                        await self._wait(ns)

    def _decide(self) -> Close | Wait:
        return decide(
            pending=len(self._pending),
            oldest_ns=self._pending[0].enqueued_ns if self._pending else 0,
            now_ns=self._clock(),
            batches_in_hand=self._batches_in_hand,
            policy=self._policy,
        )

    async def _wait(self, ns: int | None) -> None:
        """Sleep until something changes, or for some time."""
        self._changed.clear()
        loop = asyncio.get_running_loop()
        timer = None if ns is None else loop.call_later(ns / 1e9, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _drop_dead(self) -> None:
        """Take out what was withdrawn or has expired, before it costs compute."""
        now_ns = self._clock()
        alive: deque[_Entry] = deque()
        for entry in self._pending:
            if entry.future.done():
                self._pending_gauge.dec()
            elif entry.deadline_ns is not None and entry.deadline_ns <= now_ns:
                waited_ms = (now_ns - entry.enqueued_ns) / 1e6
                entry.future.set_exception(
                    DeadlineExpired(
                        f"snippet {entry.snippet.id!r} waited {waited_ms:.1f} ms and its deadline "
                        "passed. Allow more time, or send less at once."
                    )
                )
                self._pending_gauge.dec()
            else:
                alive.append(entry)
        self._pending = alive

    async def _execute(self, entries: Sequence[_Entry]) -> None:
        """Run one batch and answer its snippets; never raises for a failed batch."""
        self._pending_gauge.dec(len(entries))
        try:
            execution = await self._runner.execute([entry.snippet for entry in entries])
        except ExecutorLost:
            self._fail(entries)
            raise
        except Exception:
            logger.exception("a batch of %d for model %s failed", len(entries), self._model)
            self._fail(entries)
        else:
            self._answer(entries, execution)
        finally:
            self._batches_in_hand -= 1
            self._changed.set()

    def _fail(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            if not entry.future.done():
                entry.future.set_exception(
                    ExecutionFailed(
                        f"snippet {entry.snippet.id!r}: the execution of model {self._model!r} "
                        "failed; the daemon's log has the reason."
                    )
                )

    def _answer(self, entries: Sequence[_Entry], execution: Execution) -> None:
        compute_ns = execution.end_ns - execution.start_ns
        self._executions.inc()
        self._inferences.inc(len(entries))
        self._batch_size.observe(len(entries))
        self._execution.observe(compute_ns / 1e9)
        for row, entry in enumerate(entries):
            queue_ns = max(0, execution.start_ns - entry.enqueued_ns)
            self._queue_delay.observe(queue_ns / 1e9)
            self._duration.observe((execution.end_ns - entry.enqueued_ns) / 1e9)
            if not entry.future.done():
                outputs = {name: rows[row] for name, rows in execution.outputs.items()}
                entry.future.set_result(Scores(outputs, queue_ns, compute_ns, len(entries)))
