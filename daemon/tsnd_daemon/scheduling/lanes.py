"""What each of a model's executors has in hand, and since when.

Runs on the event loop alone, so it needs no locks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from tsnd_daemon.scheduling.waiting_room import Waiting
from tsnd_daemon.snippets import Execution, Snippet

Batch = Sequence[Waiting]


class BatchRunner(Protocol):
    """What a batcher hands batches to; ExecutorThread is one."""

    @property
    def slots(self) -> int:
        """Batches that it works on at a time."""
        ...

    def submit(self, snippets: Sequence[Snippet]) -> asyncio.Future[Execution]:
        """Hand over a batch, to run after those before it; one row per snippet."""
        ...


@dataclass(slots=True, eq=False)
class Lane:
    """A runner and the batches that it has in hand.

    Attributes:
        runner: Runs them, one after the other.
        limit: As many as it may have: one more than it works on, to follow at once.
        load: The part of the limit that is in use, 0 to 1.
        since_s: When the oldest of them became the oldest, on the event loop's clock.
    """

    runner: BatchRunner
    limit: int
    load: float = 0.0
    since_s: float = 0.0
    _in_hand: list[Batch] = field(default_factory=list)

    def put(self, batch: Batch, now_s: float) -> asyncio.Future[Execution]:
        """Hand a batch over."""
        if not self._in_hand:
            self.since_s = now_s
        self._in_hand.append(batch)
        self.load = len(self._in_hand) / self.limit
        return self.runner.submit([waiting.snippet for waiting in batch])

    def remove(self, batch: Batch, now_s: float) -> None:
        """Note that a batch has ended."""
        self._in_hand.remove(batch)
        self.load = len(self._in_hand) / self.limit
        self.since_s = now_s


class Lanes:
    """The lanes of one model."""

    def __init__(self, runners: Sequence[BatchRunner]) -> None:
        """Give each runner a lane.

        Args:
            runners: At least one.
        """
        self._lanes = [Lane(runner, runner.slots + 1) for runner in runners]
        self.places = sum(lane.limit for lane in self._lanes)

    @property
    def in_hand(self) -> list[tuple[Lane, Batch]]:
        """All batches in hand, with whose they are."""
        return [(lane, batch) for lane in self._lanes for batch in lane._in_hand]

    def snippets_in_hand(self) -> int:
        """Return how many snippets their batches have together; any thread may ask."""
        return sum(len(batch) for _, batch in self.in_hand)

    def least_loaded(self) -> Lane:
        """Return the lane for the next batch: with load 0 it is idle, with 1 all are full."""
        return min(self._lanes, key=_load)

    def are_idle(self) -> bool:
        """Return whether nothing is in hand."""
        return not any(map(_load, self._lanes))

    def first_since_s(self) -> float | None:
        """Return the earliest `since_s` of all that have something in hand."""
        return min((lane.since_s for lane in self._lanes if lane.load), default=None)


_load = attrgetter("load")
