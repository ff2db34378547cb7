from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from tsnd_daemon.batch_counts import BatchCounts

LABELS = {"model": "m", "version": "1"}
SIZES = st.lists(st.integers(1, 300), max_size=30)


@settings(deadline=None)
@given(SIZES)
def test_a_scrape_shows_what_the_librarys_own_metrics_show(sizes):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = BatchCounts(ours).labels("m", "1")
    executions = Counter("tsnd_executions", "E.", LABELS, registry=theirs).labels("m", "1")
    inferences = Counter("tsnd_inferences", "I.", LABELS, registry=theirs).labels("m", "1")
    bounds = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    histogram = Histogram("tsnd_batch_size", "B.", LABELS, buckets=bounds, registry=theirs)
    histogram.labels("m", "1")
    for size in sizes:
        counts.note(size, crops=1, rows=size)
        executions.inc()
        inferences.inc(size)
        histogram.labels("m", "1").observe(size)

    def samples(registry):
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    expected = samples(theirs)
    assert expected.items() <= samples(ours).items()


def test_crops_and_what_only_fills_up_batches_are_counted():
    registry = CollectorRegistry()
    counts = BatchCounts(registry).labels("m", "1")
    counts.note(3, crops=10, rows=4)
    counts.note(4, crops=10, rows=4)

    assert registry.get_sample_value("tsnd_crops_total", LABELS) == 70
    assert registry.get_sample_value("tsnd_padding_snippets_total", LABELS) == 1


def test_a_model_that_is_removed_is_no_longer_scraped():
    registry = CollectorRegistry()
    metrics = BatchCounts(registry)
    metrics.labels("m", "1").note(1, crops=1, rows=1)
    metrics.remove("m", "1")

    assert registry.get_sample_value("tsnd_executions_total", LABELS) is None
