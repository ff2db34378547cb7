"""The metrics that Prometheus scrapes, built on a registry that is handed in.

No label has unbounded values: models are those loaded, methods those of the service.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tsnd_daemon.errors import RequestError
from tsnd_daemon.model_statistics import ModelStatistics
from tsnd_daemon.sample_histogram import SampleHistogram, Seconds
from tsnd_daemon.stages import StageHistograms

_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_MODEL = ("model", "version")
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
        self.rejected = Counter(
            "tsnd_rejected_snippets",
            "Snippets answered with an error, by gRPC status.",
            ["code"],
            registry=registry,
        )
        self.streams = Gauge(
            "tsnd_streams", "Open streams, of snippets or of requests.", registry=registry
        )
        self.pending = Gauge(
            "tsnd_pending_snippets",
            "Snippets accepted and not yet executing.",
            _MODEL,
            registry=registry,
        )
        self.executions = Counter("tsnd_executions", "Batches run.", _MODEL, registry=registry)
        self.inferences = Counter("tsnd_inferences", "Snippets run.", _MODEL, registry=registry)
        self.batch_size = Histogram(
            "tsnd_batch_size",
            "Snippets per execution.",
            _MODEL,
            buckets=_BATCH_SIZES,
            registry=registry,
        )
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
        self.stages = StageHistograms(registry)
        self.snippet_duration = SampleHistogram(
            "tsnd_snippet_duration_seconds",
            "From a snippet's acceptance to its scores.",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )

    @contextmanager
    def count_rejected(self) -> Iterator[None]:
        """Count the RequestError that a snippet ends with."""
        try:
            yield
        except RequestError as err:
            self.rejected.labels(err.code.name).inc()
            raise

    def for_model(self, model: str, version: int) -> "ModelMetrics":
        """Return the metrics of one model and version."""
        return ModelMetrics(self, (model, str(version)))


class ModelMetrics:
    """What one model reports; looked up once, for a look-up costs more than a count.

    Attributes:
        statistics: The same and more, in exact numbers, from when it was loaded.
    """

    def __init__(self, metrics: Metrics, labels: tuple[str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self.statistics = ModelStatistics()
        self.stages = metrics.stages.labels(*labels)
        self.pending = metrics.pending.labels(*labels)
        self._executions = metrics.executions.labels(*labels)
        self._inferences = metrics.inferences.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._queue_delay = metrics.queue_delay.labels(*labels)
        self._execution = metrics.execution.labels(*labels)
        self._duration = metrics.snippet_duration.labels(*labels)

    def note_execution(self, *, compute_s: float, queue_s: Seconds, durations_s: Seconds) -> None:
        """Count an execution.

        Args:
            compute_s: Its duration.
            queue_s: How long each of its snippets waited for it.
            durations_s: How long each took in all.
        """
        size = len(queue_s)
        self._executions.inc()
        self._inferences.inc(size)
        self._batch_size.observe(size)
        self._execution.observe(compute_s)
        self._queue_delay.observe_all(queue_s)
        self._duration.observe_all(durations_s)

    def remove(self) -> None:
        """Forget the model, which is not served any more."""
        every = self._metrics
        for metric in (
            every.pending, every.executions, every.inferences, every.batch_size,
            every.queue_delay, every.execution, every.snippet_duration, every.stages,
        ):  # fmt: skip
            metric.remove(*self._labels)
