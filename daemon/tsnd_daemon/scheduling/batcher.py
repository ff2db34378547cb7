"""Forms batches of one model's snippets and hands them to its executors.

Runs on the event loop alone, so it needs no locks. When a batch is formed is for `decide`
to say; the Batcher is the task around it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from tsnd_daemon.errors import ExecutionFailed, ExecutorLost, ModelLost
from tsnd_daemon.metrics import ModelMetrics
from tsnd_daemon.scheduling.decide import Close, Wait, decide
from tsnd_daemon.scheduling.device_share import Device, Share
from tsnd_daemon.scheduling.waiting_room import NORMAL, Waiting, WaitingRoom, refuse
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

logger = logging.getLogger(__name__)


class BatchRunner(Protocol):
    """What a batcher hands batches to; ExecutorThread is one."""

    @property
    def slots(self) -> int:
        """Batches that it works on at a time."""
        ...

    def submit(self, snippets: Sequence[Snippet]) -> Awaitable[Execution]:
        """Hand over a batch, to run after those before it; one row per snippet."""
        ...


@dataclass(slots=True, eq=False)
class _Lane:
    """A runner, and how many batches it has in hand."""

    runner: BatchRunner
    in_hand: int = 0

    @property
    def limit(self) -> int:
        """One more than it works on, to follow at once."""
        return self.runner.slots + 1


class Batcher:
    """The queue of one model and the task that empties it."""

    def __init__(
        self,
        model: str,
        runners: Sequence[BatchRunner],
        policy: BatchPolicy,
        metrics: ModelMetrics,
        *,
        device: Device | None = None,
        weight: float = 1.0,
        execution_timeout_s: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Make an idle batcher; `run` is its task.

        Args:
            model: The model's name, for messages.
            runners: Run its batches side by side; at least one.
            policy: Bounds.
            metrics: Where it reports.
            device: What its runners run on, together with other models'; None when there
                are no others.
            weight: Its part of the device.
            execution_timeout_s: Longest that a batch may run before its executor counts
                as lost, seconds; None is for ever.
            clock: Monotonic nanoseconds.
        """
        self._model = model
        self._lanes = [_Lane(runner) for runner in runners]
        self._policy = policy
        self._metrics = metrics
        self._execution_timeout_s = execution_timeout_s
        self._clock = clock
        self._room = WaitingRoom(model, policy, clock)
        self._changed = asyncio.Event()
        # To look at the queue for each snippet would cost more than the snippet does.
        self._notable_sizes = {1, policy.max_batch_size, *policy.preferred_batch_sizes}
        self._idle = asyncio.Event()
        self._idle.set()
        self._lost = False
        places = sum(lane.limit for lane in self._lanes)
        self._share = Share(
            device or Device(), weight=weight, places=places, on_turn=self._changed.set
        )
        metrics.pending.set_function(self._room.__len__)

    def submit(
        self,
        snippet: Snippet,
        *,
        stream: Hashable = None,
        priority: int = NORMAL,
        deadline_ns: int | None = None,
    ) -> Waiting:
        """Accept a snippet.

        Args:
            snippet: A validated snippet of this model.
            stream: Among whose snippets it keeps its order; streams share fairly.
            priority: 0 real time, 1 normal, 2 bulk.
            deadline_ns: When its scores lose their use, on the batcher's clock. It is
                then dropped, if it has not begun to run.

        Returns:
            The snippet's place, with a future of its scores.

        Raises:
            QueueFull: When as many wait as may, and none of them has to make room.
            ModelLost: When the executor is gone.
        """
        if self._lost:
            raise self._gone(snippet)
        waiting = self._room.admit(
            snippet, stream=stream, priority=priority, deadline_ns=deadline_ns
        )
        self._idle.clear()
        is_first_to_expire = deadline_ns is not None and deadline_ns == self._room.first_deadline_ns
        if len(self._room) in self._notable_sizes or is_first_to_expire:
            self._changed.set()
        return waiting

    def withdraw(self, waiting: Waiting) -> None:
        """Take a snippet back whose scores nobody wants any more; it may run all the same."""
        self._room.remove(waiting)  # also when cancelled: whoever awaited it has done that
        if not waiting.scores.cancel() and not waiting.scores.cancelled():
            waiting.scores.exception()  # else asyncio complains that nobody looked at it
        self._note_idle()

    async def run(self) -> None:
        """Form batches until cancelled; a lost executor ends it with ExecutorLost."""
        try:
            async with asyncio.TaskGroup() as executions:
                while True:
                    self._room.drop_expired()
                    self._note_idle()
                    match self._decide():
                        case Close(size) if self._share.take():
                            batch = self._room.take(size)
                            lane = min(self._lanes, key=lambda lane: lane.in_hand)
                            lane.in_hand += 1
                            execution = executions.create_task(
                                self._execute(lane, batch, self._allowance_s(lane))
                            )
                            # Not by itself: cancelled before it begins, it would never get there.
                            execution.add_done_callback(partial(self._conclude, lane, batch))
                        case Close():
                            await self._wait(None)
                        case Wait(ns):
                            self._share.pass_on()
                            await self._wait(ns)
        finally:
            self._lost = True
            for waiting in self._room.take(len(self._room)):
                refuse(waiting, self._gone(waiting.snippet))
            self._idle.set()
            self._share.leave()

    async def drained(self) -> None:
        """Wait until all that was accepted is answered."""
        await self._idle.wait()

    def _decide(self) -> Close | Wait:
        pending = len(self._room)
        is_full = pending == 0 or pending >= self._policy.max_batch_size
        return decide(
            pending=pending,
            oldest_ns=0 if is_full else min(w.enqueued_ns for w in self._room),
            now_ns=self._clock(),
            is_idle=any(lane.in_hand == 0 for lane in self._lanes),
            has_room=any(lane.in_hand < lane.limit for lane in self._lanes),
            policy=self._policy,
        )

    async def _wait(self, ns: int | None) -> None:
        """Sleep until something changes, for some time, or until a deadline."""
        self._changed.clear()
        if (deadline_ns := self._room.first_deadline_ns) is not None:
            until_ns = max(deadline_ns - self._clock(), 0)
            ns = until_ns if ns is None else min(ns, until_ns)
        loop = asyncio.get_running_loop()
        timer = None if ns is None else loop.call_later(ns / 1e9, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _execute(
        self, lane: _Lane, batch: Sequence[Waiting], allowance_s: float | None
    ) -> int:
        """Run one batch and answer its snippets; never raises for a failed batch.

        Returns:
            How long the device worked for it, nanoseconds.
        """
        used_ns = 0
        try:
            async with asyncio.timeout(allowance_s) as allowance:
                execution = await lane.runner.submit([waiting.snippet for waiting in batch])
            used_ns = execution.end_ns - execution.start_ns
            self._answer(batch, execution)
        except ExecutorLost:
            raise
        except Exception as err:
            if allowance.expired():
                raise ExecutorLost(
                    f"the executor of model {self._model!r} has hung for more than "
                    f"{self._execution_timeout_s:g} s (execution_timeout_s)"
                ) from err
            logger.exception("a batch of %d for model %s failed", len(batch), self._model)
        return used_ns

    def _conclude(
        self, lane: _Lane, batch: Sequence[Waiting], execution: asyncio.Task[int]
    ) -> None:
        """Free a batch's place, and refuse those of its snippets that were not answered."""
        for waiting in batch:
            if not waiting.scores.done():
                waiting.scores.set_exception(self._failed(waiting.snippet))
        lane.in_hand -= 1
        is_over = not execution.cancelled() and execution.exception() is None
        used_ns = execution.result() if is_over else 0
        self._share.give_back(used_ns, wants_more=isinstance(self._decide(), Close))
        self._note_idle()
        self._changed.set()

    def _allowance_s(self, lane: _Lane) -> float | None:
        """Return how long the batch handed over last may take, after those before it."""
        if self._execution_timeout_s is None:
            return None
        return self._execution_timeout_s * lane.in_hand

    def _note_idle(self) -> None:
        if not self._room and not any(lane.in_hand for lane in self._lanes):
            self._idle.set()

    def _failed(self, snippet: Snippet) -> ExecutionFailed:
        return ExecutionFailed(
            f"snippet {snippet.id!r}: the execution of model {self._model!r} failed; the "
            "daemon's log has the reason."
        )

    def _gone(self, snippet: Snippet) -> ModelLost:
        return ModelLost(
            f"snippet {snippet.id!r}: model {self._model!r} is not served here any more. Send it "
            "to another daemon, or try again later."
        )

    def _answer(self, batch: Sequence[Waiting], execution: Execution) -> None:
        size, start_ns, end_ns = len(batch), execution.start_ns, execution.end_ns
        if any(len(rows) != size for rows in execution.outputs.values()):
            raise ValueError(f"the executor was to give {size} rows of each output")
        self._room.note(execution, size)
        arrived_ns = np.array([waiting.enqueued_ns for waiting in batch])
        self._metrics.note_execution(
            compute_s=(end_ns - start_ns) / 1e9,
            queue_s=(start_ns - arrived_ns) / 1e9,
            durations_s=(end_ns - arrived_ns) / 1e9,
        )
        for row, waiting in enumerate(batch):
            if not waiting.scores.done():
                queue_ns = max(0, start_ns - waiting.enqueued_ns)
                waiting.scores.set_result(Scores(execution, row, queue_ns, size))
