"""What has become of one model's snippets since it was loaded: exact numbers, no histograms.

Prometheus reads rates and distributions; this is for those who ask the model itself.
"""

import time
from collections import defaultdict
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """How many of something, and how long all of it took together, nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Add so many, with the sum of their durations."""
        self.count += count
        self.ns += ns


class ModelStatistics:
    """The numbers of one model; written and read on the event loop.

    Attributes:
        success: Snippets that got scores, from acceptance to scores.
        fail: Snippets that got an error, from acceptance to the error.
        queue: Snippets that ran, from acceptance to the start of their execution.
        compute: Snippets that ran, each with the duration of its execution.
        by_batch_size: Executions by their number of snippets.
        last_ms: When it last ran, milliseconds since 1970; 0 is never.
    """

    def __init__(self) -> None:
        self.success, self.fail, self.queue, self.compute = Tally(), Tally(), Tally(), Tally()
        self.by_batch_size: defaultdict[int, Tally] = defaultdict(Tally)
        self.last_ms = 0

    @property
    def executions(self) -> int:
        """Batches run."""
        return sum(tally.count for tally in self.by_batch_size.values())

    def note_execution(self, size: int, *, compute_ns: int, queue_ns: int) -> None:
        """Count a batch.

        Args:
            size: Snippets in it.
            compute_ns: Its duration.
            queue_ns: How long its snippets waited, all together.
        """
        self.by_batch_size[size].add(compute_ns)
        self.compute.add(size * compute_ns, size)
        self.queue.add(queue_ns, size)
        self.last_ms = time.time_ns() // 1_000_000
