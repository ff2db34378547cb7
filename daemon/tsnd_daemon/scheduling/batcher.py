"""Forms batches of one model's snippets and hands them to its executors.

Runs on the event loop alone, so it needs no locks, and in callbacks instead of tasks, for
those cost more than what they would do here. When a batch is formed is for `decide` to say;
the Batcher is what happens around it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np

from tsnd_daemon.errors import ExecutionFailed, ExecutorLost, ModelLost, RequestError
from tsnd_daemon.metrics import ModelMetrics
from tsnd_daemon.scheduling.decide import Close, Wait, decide
from tsnd_daemon.scheduling.device_share import Device, Share
from tsnd_daemon.scheduling.lanes import Batch, BatchRunner, Lane, Lanes
from tsnd_daemon.scheduling.waiting_room import NORMAL, Waiting, WaitingRoom, refuse
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

logger = logging.getLogger(__name__)


class Batcher:
    """The queue of one model, and what empties it."""

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
        """Make an idle batcher, which takes snippets and waits for `run`.

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
        self._policy = policy
        self._metrics = metrics
        self._execution_timeout_s = execution_timeout_s
        self._clock = clock
        self._statistics = metrics.statistics
        self._room = WaitingRoom(
            model, policy, clock, self._statistics.fail, metrics.deadline_misses.inc
        )
        self._lanes = Lanes(runners)
        # To look at the queue for each snippet would cost more than the snippet does.
        self._notable_sizes = {1, policy.max_batch_size, *policy.preferred_batch_sizes}
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._is_called = True  # nothing happens before `run`
        self._timer: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._gone = False
        self._share = Share(
            device or Device(), weight=weight, places=self._lanes.places, on_turn=self._call
        )
        metrics.watch(pending=self._room.__len__, in_flight=self._lanes.snippets_in_hand)

    def submit(
        self,
        snippet: Snippet,
        *,
        stream: Hashable = None,
        priority: int = NORMAL,
        deadline_ns: int | None = None,
        arrived_ns: int | None = None,
    ) -> Waiting:
        """Accept a snippet.

        Args:
            snippet: A validated snippet of this model.
            stream: Among whose snippets it keeps its order; streams share fairly.
            priority: 0 real time, 1 normal, 2 bulk.
            deadline_ns: When its scores lose their use, on the batcher's clock. It is
                then dropped, if it has not begun to run.
            arrived_ns: When it came, on that clock: the same for all of a message; None is
                now.

        Returns:
            The snippet's place, with a future of its scores.

        Raises:
            QueueFull: When as many wait as may, and none of them has to make room.
            ModelLost: When the executor is gone.
        """
        if self._gone:
            raise self._model_lost(snippet)
        waiting = self._room.admit(
            snippet,
            stream=stream,
            priority=priority,
            deadline_ns=deadline_ns,
            arrived_ns=self._clock() if arrived_ns is None else arrived_ns,
        )
        self._idle.clear()
        is_first_to_expire = deadline_ns is not None and deadline_ns == self._room.first_deadline_ns
        if len(self._room) in self._notable_sizes or is_first_to_expire:
            self._call()
        return waiting

    def withdraw(self, waiting: Waiting) -> None:
        """Take a snippet back whose scores nobody wants any more; it may run all the same."""
        self._room.remove(waiting)  # also when cancelled: whoever awaited it has done that
        if not waiting.scores.cancel() and not waiting.scores.cancelled():
            waiting.scores.exception()  # else asyncio complains that nobody looked at it
        self._note_idle()

    async def run(self) -> None:
        """Form batches until cancelled.

        Raises:
            ExecutorLost: When an executor is gone, or has hung; all that was accepted is
                answered.
        """
        self._advance()
        try:
            await self._over
        finally:
            self._end()

    async def drained(self) -> None:
        """Wait until all that was accepted is answered."""
        await self._idle.wait()

    def _call(self) -> None:
        """Let `_advance` be called soon, once however often this is said."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Form the batches for which it is time, and see to it that the others follow."""
        self._is_called = False
        if self._gone:
            return
        try:
            self._room.drop_expired()
            wait_ns = self._form_batches()
            self._note_idle()
            self._set_timer(wait_ns)
        except Exception as err:  # noqa: BLE001 - `run` raises it; else all would wait for ever
            self._lose(err)

    def _form_batches(self) -> int | None:
        """Hand over what can be; returns after how many nanoseconds to try again, if then."""
        while isinstance(decision := self._decide(), Close):
            if not self._share.take():
                return None  # the device calls
            lane, batch = self._lanes.least_loaded(), self._room.take(decision.size)
            execution = lane.put(batch, self._loop.time())
            execution.add_done_callback(partial(self._conclude, lane, batch))
            if self._watchdog is None:
                self._set_watchdog()
        self._share.pass_on()
        return decision.ns

    def _decide(self) -> Close | Wait:
        pending, load = len(self._room), self._lanes.least_loaded().load
        is_full = pending == 0 or pending >= self._policy.max_batch_size
        return decide(
            pending=pending,
            oldest_ns=0 if is_full else min(w.enqueued_ns for w in self._room),
            now_ns=self._clock(),
            is_idle=load == 0.0,
            has_room=load < 1.0,
            policy=self._policy,
        )

    def _set_timer(self, wait_ns: int | None) -> None:
        """Be called again after some time, or at the first deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline_ns := self._room.first_deadline_ns) is not None:
            until_ns = max(deadline_ns - self._clock(), 0)
            wait_ns = until_ns if wait_ns is None else min(wait_ns, until_ns)
        if wait_ns is not None:
            self._timer = self._loop.call_later(wait_ns / 1e9, self._call)

    def _set_watchdog(self) -> None:
        """Look after the batches in hand when the oldest has had its time, and not before."""
        self._watchdog, since_s = None, self._lanes.first_since_s()
        if since_s is not None and self._execution_timeout_s is not None:
            due_s = since_s + self._execution_timeout_s
            self._watchdog = self._loop.call_at(due_s, self._watch, due_s)

    def _watch(self, due_s: float) -> None:
        """Lose an executor whose oldest batch was to end by now, on the loop's clock."""
        since_s, timeout_s = self._lanes.first_since_s(), self._execution_timeout_s
        if since_s is None or timeout_s is None or since_s + timeout_s > due_s:
            self._set_watchdog()
            return
        self._lose(
            ExecutorLost(
                f"the executor of model {self._model!r} has hung for more than {timeout_s:g} s "
                "(execution_timeout_s)"
            )
        )

    def _conclude(self, lane: Lane, batch: Batch, execution: asyncio.Future[Execution]) -> None:
        """Answer a batch's snippets and free its place."""
        if self._gone:
            return  # they are answered
        used_ns = 0
        try:
            used_ns = self._answer(batch, execution.result())
        except ExecutorLost as err:
            self._lose(err)
            return
        except (Exception, asyncio.CancelledError):
            logger.exception("a batch of %d for model %s failed", len(batch), self._model)
            self._refuse_failed(batch)
        lane.remove(batch, self._loop.time())
        self._is_called = True  # it is, below
        self._share.give_back(used_ns, wants_more=isinstance(self._decide(), Close))
        self._advance()

    def _lose(self, error: Exception) -> None:
        """Let `run` end with an error; what is in hand and waits is answered there."""
        self._gone = True
        if not self._over.done():
            self._over.set_exception(error)

    def _end(self) -> None:
        """Answer everything, and take nothing more."""
        self._gone = True
        for timer in (self._timer, self._watchdog):
            if timer is not None:
                timer.cancel()
        for _, batch in self._lanes.in_hand:
            self._refuse_failed(batch)
            self._share.give_back(0)
        for waiting in self._room.take(len(self._room)):
            self._refuse(waiting, self._model_lost(waiting.snippet))
        self._idle.set()
        self._share.leave()

    def _note_idle(self) -> None:
        if not self._room and self._lanes.are_idle():
            self._idle.set()

    def _refuse_failed(self, batch: Batch) -> None:
        for waiting in batch:
            self._refuse(
                waiting,
                ExecutionFailed(
                    f"snippet {waiting.snippet.id!r}: the execution of model {self._model!r} "
                    "failed; the daemon's log has the reason."
                ),
            )

    def _refuse(self, waiting: Waiting, error: RequestError) -> None:
        """Answer a snippet with an error, unless it is answered."""
        if refuse(waiting, error):
            self._statistics.fail.add(self._clock() - waiting.enqueued_ns)

    def _model_lost(self, snippet: Snippet) -> ModelLost:
        return ModelLost(
            f"snippet {snippet.id!r}: model {self._model!r} is not served here any more. Send it "
            "to another daemon, or try again later."
        )

    def _answer(self, batch: Batch, execution: Execution) -> int:
        """Answer a batch's snippets; returns how long the device worked, nanoseconds."""
        size, start_ns, end_ns = len(batch), execution.start_ns, execution.end_ns
        if any(len(rows) != size for rows in execution.outputs.values()):
            raise ValueError(f"the executor was to give {size} rows of each output")
        self._room.note(execution, size)
        each_arrived_ns = [waiting.enqueued_ns for waiting in batch]
        arrived_ns = np.array(each_arrived_ns)
        self._metrics.note_execution(
            compute_s=(end_ns - start_ns) / 1e9,
            queue_s=(start_ns - arrived_ns) / 1e9,
            durations_s=(end_ns - arrived_ns) / 1e9,
        )
        without_scores = list[Waiting]()
        for row, waiting in enumerate(batch):
            if (error := waiting.snippet.error) is not None:
                self._refuse(waiting, error)
                without_scores.append(waiting)
            elif waiting.scores.done():  # withdrawn
                without_scores.append(waiting)
            else:
                queue_ns = max(0, start_ns - waiting.enqueued_ns)
                waiting.scores.set_result(Scores(execution, row, queue_ns, size))
        # Python adds up a few numbers faster than NumPy does.
        all_arrived_ns = sum(each_arrived_ns)
        self._statistics.note_execution(
            size, compute_ns=end_ns - start_ns, queue_ns=size * start_ns - all_arrived_ns
        )
        self._statistics.success.add(size * end_ns - all_arrived_ns, size)
        for waiting in without_scores:
            self._statistics.success.add(waiting.enqueued_ns - end_ns, -1)
        return end_ns - start_ns
