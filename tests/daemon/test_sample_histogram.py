import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from tsnd_daemon.sample_histogram import SampleHistogram

BOUNDS = (0.001, 0.01, 0.1, 1.0)
SAMPLES = st.lists(st.floats(0, 10) | st.sampled_from(BOUNDS), max_size=20)


def scraped(registry):
    lines = generate_latest(registry).decode().splitlines()
    return {
        key: float(value)
        for key, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
        if "_created" not in key
    }


@given(st.lists(SAMPLES, max_size=4))
def test_a_scrape_shows_what_the_librarys_own_histogram_shows(batches):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = SampleHistogram("delay_seconds", "Wait.", ("model",), buckets=BOUNDS, registry=ours)
    plain = Histogram("delay_seconds", "Wait.", ("model",), buckets=BOUNDS, registry=theirs)
    plain.labels("m")
    for batch in batches or [[]]:
        fast.labels("m").observe_all(np.array(batch))
        for sample in batch:
            plain.labels("m").observe(sample)

    found, expected = scraped(ours), scraped(theirs)

    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), [expected[key] for key in found], rtol=1e-9)


def test_removed_labels_are_no_longer_scraped():
    registry = CollectorRegistry()
    histogram = SampleHistogram("h", "H.", ("model",), buckets=BOUNDS, registry=registry)
    histogram.labels("a").observe_all(np.array([0.5]))
    histogram.labels("b").observe_all(np.array([0.5]))

    histogram.remove("a")

    assert registry.get_sample_value("h_count", {"model": "a"}) is None
    assert registry.get_sample_value("h_count", {"model": "b"}) == 1
