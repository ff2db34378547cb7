"""The metrics that Prometheus scrapes, built on a registry that is handed in.

No label has unbounded values: models are those loaded, methods those of the services, reasons
the classes of errors.py.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from tsnd_daemon.batch_counts import BatchCounts
from tsnd_daemon.errors import RequestError
from tsnd_daemon.model_statistics import ModelStatistics
from tsnd_daemon.sample_histogram import SampleHistogram, Seconds
from tsnd_daemon.stages import StageHistograms

_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_LOAD_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_MODEL = ("model", "version")
_WORD_BREAK = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Metrics:
    """One object with every metric; see docs/operations.md for what they tell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics.

        Args:
            registry: Where they are scraped from; a test has its own.
        """
        self.requests = Counter(
            "tsnd_requests", "Finished calls.", ["method", "code"], registry=registry
        )
        self._rejected = Counter(
            "tsnd_rejected_snippets",
            "Snippets answered with an error, by gRPC status and reason.",
            ["code", "reason"],
            registry=registry,
        )
        self.streams = Gauge(
            "tsnd_streams", "Open streams, of snippets or of requests.", registry=registry
        )
        self._loads = Counter(
            "tsnd_model_loads", "Models loaded, or not.", ["result"], registry=registry
        )
        self._load_seconds = Histogram(
            "tsnd_model_load_seconds",
            "From the choice of an engine to the end of its warm-up, of models that were loaded.",
            buckets=_LOAD_SECONDS,
            registry=registry,
        )
        self._info = Gauge(
            "tsnd_model_info",
            "1 for each model served, and what runs it.",
            [*_MODEL, "backend", "precision"],
            registry=registry,
        )
        self._runs_on = dict[tuple[str, str], tuple[str, str]]()
        self.executors = Gauge(
            "tsnd_executors", "Executors of a model, side by side.", _MODEL, registry=registry
        )
        self.pending = Gauge(
            "tsnd_pending_snippets",
            "Snippets accepted and not yet handed to an executor.",
            _MODEL,
            registry=registry,
        )
        self.in_flight = Gauge(
            "tsnd_in_flight_snippets",
            "Snippets in batches that executors have.",
            _MODEL,
            registry=registry,
        )
        self.deadline_misses = Counter(
            "tsnd_deadline_misses",
            "Snippets dropped because their deadline passed while they waited.",
            _MODEL,
            registry=registry,
        )
        self.batches = BatchCounts(registry)
        self.queue_delay = SampleHistogram(
            "tsnd_queue_delay_seconds",
            "From a snippet's acceptance to the start of its execution.",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self.execution = Histogram(
            "tsnd_execution_seconds",
            "Duration of an execution.",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self.snippet_duration = SampleHistogram(
            "tsnd_snippet_duration_seconds",
            "From a snippet's acceptance to its scores.",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self.stages = StageHistograms(registry)
        ProcessCollector(registry=registry)

    def note_rejected(self, error: RequestError) -> None:
        """Count what a snippet ends with instead of scores."""
        self._rejected.labels(error.code.name, reason_of(type(error))).inc()

    @contextmanager
    def count_rejected(self) -> Iterator[None]:
        """Count the RequestError that a snippet ends with."""
        try:
            yield
        except RequestError as err:
            self.note_rejected(err)
            raise

    @contextmanager
    def time_load(self) -> Iterator[None]:
        """Count a model that is loaded, or fails to."""
        begun_s = time.monotonic()
        try:
            yield
        except Exception:
            self._loads.labels("failed").inc()
            raise
        self._loads.labels("loaded").inc()
        self._load_seconds.observe(time.monotonic() - begun_s)

    def note_engine(self, labels: tuple[str, str], engine: tuple[str, str] | None) -> None:
        """Say what runs a model from now on.

        Args:
            labels: Of the model.
            engine: Its backend and precision; None when it is not served any more.
        """
        if (before := self._runs_on.pop(labels, None)) is not None:
            self._info.remove(*labels, *before)
        if engine is not None:
            self._runs_on[labels] = engine
            self._info.labels(*labels, *engine).set(1)

    def for_model(
        self, model: str, version: int, *, crops: int = 1, rows: Sequence[int] = ()
    ) -> "ModelMetrics":
        """Return the metrics of one model and version.

        Args:
            model: Its name.
            version: Its number.
            crops: Of each of its snippets.
            rows: How many snippets its engine computes for a batch of 1, 2, and so on; no
                more than the batch has, where that is not said.
        """
        return ModelMetrics(self, (model, str(version)), crops=crops, rows=rows)


class ModelMetrics:
    """What one model reports; looked up once, for a look-up costs more than a count.

    Attributes:
        statistics: The same and more, in exact numbers, from when it was loaded.
        stages: Where the time of its snippets went.
        deadline_misses: Snippets dropped because their deadline passed.
    """

    def __init__(
        self, metrics: Metrics, labels: tuple[str, str], *, crops: int, rows: Sequence[int]
    ) -> None:
        self._metrics = metrics
        self._labels = labels
        self._crops, self._rows = crops, rows
        self.statistics = ModelStatistics()
        self.stages = metrics.stages.labels(*labels)
        self.deadline_misses = metrics.deadline_misses.labels(*labels)
        self._executors = metrics.executors.labels(*labels)
        self._pending = metrics.pending.labels(*labels)
        self._in_flight = metrics.in_flight.labels(*labels)
        self._batches = metrics.batches.labels(*labels)
        self._queue_delay = metrics.queue_delay.labels(*labels)
        self._execution = metrics.execution.labels(*labels)
        self._duration = metrics.snippet_duration.labels(*labels)

    def note_served(self, *, backend: str, precision: str, executors: int) -> None:
        """Say what runs the model from now on."""
        self._metrics.note_engine(self._labels, (backend, precision))
        self._executors.set(executors)

    def watch(self, *, pending: Callable[[], float], in_flight: Callable[[], float]) -> None:
        """Ask at each scrape.

        Args:
            pending: How many snippets wait.
            in_flight: How many executors have.
        """
        self._pending.set_function(pending)
        self._in_flight.set_function(in_flight)

    def note_execution(self, *, compute_s: float, queue_s: Seconds, durations_s: Seconds) -> None:
        """Count an execution.

        Args:
            compute_s: Its duration.
            queue_s: How long each of its snippets waited for it.
            durations_s: How long each took in all.
        """
        size = len(queue_s)
        rows = self._rows[size - 1] if self._rows else size
        self._batches.note(size, crops=self._crops, rows=rows)
        self._execution.observe(compute_s)
        self._queue_delay.observe_all(queue_s)
        self._duration.observe_all(durations_s)

    def remove(self) -> None:
        """Forget the model, which is not served any more."""
        every = self._metrics
        every.note_engine(self._labels, None)
        for metric in (
            every.executors, every.pending, every.in_flight, every.deadline_misses, every.batches,
            every.queue_delay, every.execution, every.snippet_duration, every.stages,
        ):  # fmt: skip
            metric.remove(*self._labels)


def reason_of(error: type[RequestError]) -> str:
    """Return an error's class as a label, such as queue_full."""
    return _WORD_BREAK.sub("_", error.__name__).lower()
