"""What is counted of batches: five metrics, of which a batch costs a few additions.

The library's own counters take a lock each, at a microsecond or two.
"""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_MODEL = ("model", "version")
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ModelBatches:
    """The batches of one model; written on the event loop."""

    def __init__(self) -> None:
        self.by_size: defaultdict[int, int] = defaultdict(int)
        self.crops = 0
        self.padding = 0

    def note(self, size: int, *, crops: int, rows: int) -> None:
        """Count a batch.

        Args:
            size: Snippets in it.
            crops: Of each snippet.
            rows: Snippets that the engine computed, with those that only filled it up.
        """
        self.by_size[size] += 1
        self.crops += size * crops
        self.padding += rows - size


class BatchCounts(Collector):
    """The metrics, of all models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them.

        Args:
            registry: Where they are scraped from.
        """
        self._models: dict[tuple[str, str], ModelBatches] = {}
        registry.register(self)

    def labels(self, model: str, version: str) -> ModelBatches:
        """Return where the batches of a model are counted."""
        return self._models.setdefault((model, version), ModelBatches())

    def remove(self, model: str, version: str) -> None:
        """Forget a model."""
        self._models.pop((model, version), None)

    def collect(self) -> Iterable[Metric]:
        """Return everything, as Prometheus scrapes it."""
        executions, inferences, crops, padding, sizes = families = _families()
        for labels, model in list(self._models.items()):
            by_size = dict(model.by_size)  # the event loop may add meanwhile
            count = sum(by_size.values())
            snippets = sum(size * times for size, times in by_size.items())
            executions.add_metric(labels, count)
            inferences.add_metric(labels, snippets)
            crops.add_metric(labels, model.crops)
            padding.add_metric(labels, model.padding)
            buckets = [(str(float(bound)), _up_to(by_size, bound)) for bound in _SIZES]
            sizes.add_metric(labels, [*buckets, ("+Inf", float(count))], snippets)
        return families

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, for the registry to know their names."""
        return _families()


def _up_to(by_size: dict[int, int], bound: int) -> float:
    return float(sum(times for size, times in by_size.items() if size <= bound))


def _families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    HistogramMetricFamily,
]:
    return (
        CounterMetricFamily("tsnd_executions", "Batches run.", labels=_MODEL),
        CounterMetricFamily("tsnd_inferences", "Snippets run.", labels=_MODEL),
        CounterMetricFamily("tsnd_crops", "Crops of the snippets run.", labels=_MODEL),
        CounterMetricFamily(
            "tsnd_padding_snippets",
            "Computed only to fill up batches to the smallest that a plan takes.",
            labels=_MODEL,
        ),
        HistogramMetricFamily("tsnd_batch_size", "Snippets per execution.", labels=_MODEL),
    )
