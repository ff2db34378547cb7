"""Where a snippet's time goes, from its message to its result: histograms that add up.

    message ─receive─► accepted ─queue─► begun ─copy, decode─► ready ─compute─► end ─reply─► written

Each stage begins where the one before ends, so together they are the whole. The moments are
those of messages and batches: what is noted is not a snippet but a run of them that has all
moments in common. Notes are made on the event loop and counted later, all together.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Nanoseconds = npt.NDArray[np.int64]

STAGES = ("receive", "queue", "copy", "decode", "compute", "reply")
"""In the order in which a snippet passes them."""

SECONDS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_MODEL = ("model", "version")
_MOST_UNCOUNTED = 512


class Run(NamedTuple):
    """Snippets that came in one message and ran in one batch; monotonic nanoseconds.

    Attributes:
        received: When their message had come and began to be read.
        arrived: When they were accepted.
        begun: When the pixels of their batch began to be brought to its buffer.
        ready: When they all were there.
        decode: For how long of that the decoding of JPEG was waited for; a duration.
        start: When the batch had its executor to itself: not before the end of the batch
            before.
        end: When it had its outputs.
        written: When gRPC had taken the results.
        snippets: How many they are.
    """

    received: int
    arrived: int
    begun: int
    ready: int
    decode: int
    start: int
    end: int
    written: int
    snippets: int


OnRun = Callable[[tuple[str, str], Run, str], None]
"""Takes a model's labels, a run, and the `traceparent` of its call."""


def split(runs: Nanoseconds) -> Nanoseconds:
    """Return how long each stage took.

    Args:
        runs: int64 [runs, 9], one `Run` in each row.

    Returns:
        int64 [runs, 6] nanoseconds, in the order of `STAGES`; a row adds up to the time from
        `received` to `written`. A batch that is ready before its executor has ended the one
        before queues until then.
    """
    received, arrived, begun, ready, decode, start, end, written, _ = runs.T
    computing = np.maximum(ready, start)
    stages = (
        arrived - received,
        begun - arrived + computing - ready,
        ready - begun - decode,
        decode,
        end - computing,
        written - end,
    )
    return np.stack(stages, axis=1)


class StageHistograms(Collector):
    """Two metrics: the duration of each stage, and of all together.

    Attributes:
        on_run: Called with a model's labels, each run, and the `traceparent` of its call; it
            holds for the models that are looked up from then on.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register both.

        Args:
            registry: Where they are scraped from.
        """
        self.on_run: OnRun | None = None
        self._models: dict[tuple[str, str], ModelStages] = {}
        registry.register(self)

    def labels(self, model: str, version: str) -> "ModelStages":
        """Return where the snippets of a model are noted."""
        labels = (model, version)
        return self._models.setdefault(labels, ModelStages(labels, self.on_run))

    def remove(self, model: str, version: str) -> None:
        """Forget a model."""
        self._models.pop((model, version), None)

    def collect(self) -> Iterable[Metric]:
        """Return everything, as Prometheus scrapes it."""
        stages, whole = self._families()
        bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
        for labels, model in list(self._models.items()):
            counts, sums = model.read()
            for column, stage in enumerate((*STAGES, None)):
                buckets = list(zip(bounds, counts[column], strict=True))
                if stage is None:
                    whole.add_metric(labels, buckets, sums[column])
                else:
                    stages.add_metric((*labels, stage), buckets, sums[column])
        return stages, whole

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, for the registry to know their names."""
        return self._families()

    @staticmethod
    def _families() -> tuple[HistogramMetricFamily, HistogramMetricFamily]:
        return (
            HistogramMetricFamily(
                "tsnd_stage_seconds",
                "What a snippet that got scores spent in each stage.",
                labels=(*_MODEL, "stage"),
            ),
            HistogramMetricFamily(
                "tsnd_end_to_end_seconds",
                "From a snippet's message to its result, both in gRPC's hands: all stages.",
                labels=_MODEL,
            ),
        )


class ModelStages:
    """The stages of one model's snippets."""

    def __init__(self, labels: tuple[str, str], on_run: "OnRun | None" = None) -> None:
        self._labels, self._on_run = labels, on_run
        columns, bounds = len(STAGES) + 1, len(SECONDS)
        self._bounds = np.array(SECONDS)
        self._first = np.arange(columns) * (bounds + 1)
        self._counts = np.zeros((columns, bounds + 1), np.int64)
        self._sums = np.zeros(columns)
        self._uncounted: deque[Run] = deque()
        self._lock = threading.Lock()

    def note(self, run: Run, parent: str = "") -> None:
        """Add snippets that have been answered.

        Args:
            run: The snippets.
            parent: The `traceparent` that came with their call.
        """
        if self._on_run is not None:
            self._on_run(self._labels, run, parent)
        self._uncounted.append(run)
        if len(self._uncounted) >= _MOST_UNCOUNTED:
            self._count()

    def read(self) -> tuple[list[list[float]], list[float]]:
        """Return two lists with a place for each stage and one for all together.

        Returns:
            How many snippets took no longer than each bound, and their time, seconds.
        """
        self._count()
        with self._lock:
            return self._counts.cumsum(axis=1).tolist(), self._sums.tolist()

    def _count(self) -> None:
        with self._lock:
            runs = list[Run]()
            with suppress(IndexError):
                while True:  # the event loop may add meanwhile
                    runs.append(self._uncounted.popleft())
            if not runs:
                return
            # Half of what np.array takes.
            numbers = np.fromiter(chain.from_iterable(runs), np.int64, len(runs) * len(runs[0]))
            table = numbers.reshape(len(runs), -1)
            whole = table[:, Run._fields.index("written")] - table[:, 0]
            seconds = np.column_stack((split(table), whole)) / 1e9
            counts = table[:, -1]
            # The first bound that is not less: a bucket has what is less than or equal.
            places = self._bounds.searchsorted(seconds) + self._first
            weights = np.repeat(counts, seconds.shape[1])
            found = np.bincount(places.ravel(), weights, minlength=self._counts.size)
            self._counts += found.reshape(self._counts.shape).astype(np.int64)
            self._sums += counts @ seconds
