"""The metrics that Prometheus scrapes, built on a registry that is handed in.

No label has unbounded values: models are those loaded, methods those of the service.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
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
        self.streams = Gauge("tsnd_streams", "Open ScoreStream calls.", registry=registry)
        self.pending = Gauge(
            "tsnd_pending_snippets",
            "Snippets accepted and not yet executing.",
            ["model"],
            registry=registry,
        )
        self.executions = Counter("tsnd_executions", "Batches run.", ["model"], registry=registry)
        self.inferences = Counter("tsnd_inferences", "Snippets run.", ["model"], registry=registry)
        self.batch_size = Histogram(
            "tsnd_batch_size",
            "Snippets per execution.",
            ["model"],
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self.queue_delay = Histogram(
            "tsnd_queue_delay_seconds",
            "From a snippet's acceptance to the start of its execution.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.execution = Histogram(
            "tsnd_execution_seconds",
            "Duration of an execution.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.snippet_duration = Histogram(
            "tsnd_snippet_duration_seconds",
            "From a snippet's acceptance to its scores.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
