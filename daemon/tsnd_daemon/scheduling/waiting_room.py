"""Where one model's snippets wait: fairly ordered, bounded, and not beyond their deadlines.

Runs on the event loop alone, so it needs no locks.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from tsnd_daemon.errors import DeadlineExpired, QueueFull, RequestError
from tsnd_daemon.model_statistics import Tally
from tsnd_daemon.scheduling.fair_queue import FairQueue
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

NORMAL = 1
"""The priority of most snippets; 0 is real time, 2 is bulk."""

_FEW = 8
"""Answered snippets that may be kept for a while, to be let go of together."""
_UNKNOWN_RETRY_NS = 100_000_000
"""When to try again while no batch has run yet."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A snippet that waits, and where its scores go."""

    snippet: Snippet
    scores: asyncio.Future[Scores]
    stream: Hashable
    priority: int
    enqueued_ns: int


class WaitingRoom:
    """The snippets of one model that wait."""

    def __init__(
        self,
        model: str,
        policy: BatchPolicy,
        clock: Callable[[], int],
        fail: Tally,
        on_expired: Callable[[], None],
    ) -> None:
        """Make an empty one.

        Args:
            model: The model's name, for messages.
            policy: Bounds.
            clock: Monotonic nanoseconds.
            fail: Where snippets are counted that it refuses.
            on_expired: Called for each that it drops because of its deadline.
        """
        self._model = model
        self._policy = policy
        self._clock = clock
        self._fail, self._on_expired = fail, on_expired
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[Waiting] = FairQueue(policy.stream_quantum)
        self._deadlines: list[tuple[int, int, Waiting]] = []
        self._sequence = itertools.count()
        self._pace = _Pace()

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Waiting]:
        """Iterate over all that wait, in no particular order."""
        return iter(self._queue)

    @property
    def first_deadline_ns(self) -> int | None:
        """When `drop_expired` has something to do next, if ever."""
        return self._deadlines[0][0] if self._deadlines else None

    def admit(
        self,
        snippet: Snippet,
        *,
        stream: Hashable,
        priority: int,
        deadline_ns: int | None,
        arrived_ns: int,
    ) -> Waiting:
        """Let a snippet wait; arguments as for Batcher.submit.

        Raises:
            QueueFull: When as many wait as may, and none of them has to make room.
        """
        if len(self._queue) >= self._policy.max_queue_size:
            self._make_room(snippet, stream, priority)
        scores: asyncio.Future[Scores] = self._loop.create_future()
        waiting = Waiting(snippet, scores, stream, priority, arrived_ns)
        self._queue.push(waiting, stream=stream, priority=priority)
        if deadline_ns is not None:
            self._forget_done()
            heapq.heappush(self._deadlines, (deadline_ns, next(self._sequence), waiting))
        return waiting

    def take(self, count: int) -> list[Waiting]:
        """Take so many out, in their order, to run."""
        return [self._queue.pop() for _ in range(count)]

    def note(self, execution: Execution, size: int) -> None:
        """Learn from a batch how long a snippet takes, for those that are to try again."""
        self._pace.note(execution, size)

    def remove(self, waiting: Waiting) -> bool:
        """Take a snippet out; returns False when it is not there any more."""
        try:
            self._queue.remove(waiting, stream=waiting.stream, priority=waiting.priority)
        except KeyError:
            return False
        return True

    def drop_expired(self) -> None:
        """Take out what nobody waits for any more, before it costs compute."""
        now_ns = self._clock()
        while self._deadlines:
            deadline_ns, _, waiting = self._deadlines[0]
            if waiting.scores.done():
                heapq.heappop(self._deadlines)
                continue
            if deadline_ns > now_ns:
                return
            heapq.heappop(self._deadlines)
            if self.remove(waiting):
                waited_ms = (now_ns - waiting.enqueued_ns) / 1e6
                self._fail.add(now_ns - waiting.enqueued_ns)
                self._on_expired()
                refuse(
                    waiting,
                    DeadlineExpired(
                        f"snippet {waiting.snippet.id!r} waited {waited_ms:.1f} ms and its "
                        "deadline passed. Allow more time, or send less at once."
                    ),
                )

    def _forget_done(self) -> None:
        """Let go of the answered, with their pixels, however late their deadlines are."""
        if len(self._deadlines) < 2 * len(self._queue) + _FEW:
            return
        self._deadlines = [entry for entry in self._deadlines if not entry[2].scores.done()]
        heapq.heapify(self._deadlines)

    def _make_room(self, newcomer: Snippet, stream: Hashable, priority: int) -> None:
        """Shed a snippet that has less claim to a place than a newcomer."""
        shed = self._queue.victim(stream=stream, priority=priority)
        full = (
            f"model {self._model!r} has {len(self._queue)} snippets waiting, its bound "
            "(max_queue_size)"
        )
        self._fail.add(0 if shed is None else self._clock() - shed.enqueued_ns)
        if shed is None:
            raise QueueFull(
                f"snippet {newcomer.id!r}: {full}. Send fewer at once, or try again later.",
                retry_after_ns=self._retry_after_ns,
            )
        self.remove(shed)
        refuse(
            shed,
            QueueFull(
                f"snippet {shed.snippet.id!r} made room: {full}, and this one was of the lowest "
                "priority or of the stream with most. Send fewer at once, or try again later.",
                retry_after_ns=self._retry_after_ns,
            ),
        )

    @property
    def _retry_after_ns(self) -> int:
        """Return about how long half of what waits will take."""
        per_snippet_ns = self._pace.ns_per_snippet
        if per_snippet_ns is None:
            return _UNKNOWN_RETRY_NS
        return max(1_000_000, int(per_snippet_ns * len(self._queue) / 2))


class _Pace:
    """How long a snippet takes at the moment, all executors together."""

    ns_per_snippet: float | None = None
    _end_ns = 0

    def note(self, execution: Execution, size: int) -> None:
        """Learn from a batch; one in four parts the new, to follow the load soon."""
        # Those of several executors may come out of order.
        latest = max(0, execution.end_ns - max(self._end_ns, execution.start_ns)) / size
        before = self.ns_per_snippet
        self.ns_per_snippet = latest if before is None else 0.75 * before + 0.25 * latest
        self._end_ns = max(self._end_ns, execution.end_ns)


def refuse(waiting: Waiting, error: RequestError) -> bool:
    """Answer a snippet with an error, unless it is answered; returns whether that was needed."""
    if waiting.scores.done():
        return False
    waiting.scores.set_exception(error)
    return True
