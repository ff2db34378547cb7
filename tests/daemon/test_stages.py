import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tsnd_daemon.stages import SECONDS, STAGES, Run, StageHistograms, split

MS = 1_000_000
# Read at 1 ms, accepted at 2, copied from 10 to 14 of which 3 went to decoding, run to 20.
RUN = Run(1 * MS, 2 * MS, 10 * MS, 14 * MS, 3 * MS, 10 * MS, 20 * MS, 22 * MS, snippets=8)


def stages_of(run):
    return dict(zip(STAGES, split(np.array([run]))[0] // MS, strict=True))


def test_each_stage_is_the_time_between_two_moments():
    assert stages_of(RUN) == {
        "receive": 1, "queue": 8, "copy": 1, "decode": 3, "compute": 6, "reply": 2
    }  # fmt: skip


def test_a_batch_that_is_ready_before_the_one_before_ends_queues_until_then():
    waited = stages_of(RUN._replace(start=17 * MS))

    assert waited["queue"] == 8 + 3
    assert waited["compute"] == 3


def test_a_batch_that_is_copied_while_the_one_before_ends_does_not_queue_any_more():
    assert stages_of(RUN._replace(start=12 * MS)) == stages_of(RUN)


@st.composite
def runs(draw):
    """Moments in their order, as a daemon has them."""
    steps = draw(st.lists(st.integers(0, 10**10), min_size=6, max_size=6))
    received, arrived, begun, ready, end, written = np.cumsum(steps).tolist()
    decode = draw(st.integers(0, ready - begun))
    start = draw(st.integers(begun, end))
    return Run(
        received, arrived, begun, ready, decode, start, end, written, draw(st.integers(1, 16))
    )


@settings(deadline=None)
@given(st.lists(runs(), min_size=1, max_size=20))
def test_stages_are_never_negative_and_add_up_to_the_whole(some):
    table = np.array(some)
    stages = split(table)

    assert (stages >= 0).all()
    np.testing.assert_array_equal(stages.sum(axis=1), table[:, 7] - table[:, 0])


def value(registry, name, **labels):
    return registry.get_sample_value(name, {"model": "m", "version": "1", **labels})


@settings(deadline=None)  # the first call loads what others do not
@given(st.lists(runs(), max_size=20))
def test_histograms_count_each_snippet_of_a_run(some):
    registry = CollectorRegistry()
    model = StageHistograms(registry).labels("m", "1")
    for run in some:
        model.note(run)

    whole = [(run.written - run.received) / 1e9 for run in some for _ in range(run.snippets)]
    assert value(registry, "tsnd_end_to_end_seconds_count") == len(whole)
    assert value(registry, "tsnd_end_to_end_seconds_sum") == pytest.approx(sum(whole))
    for bound in (SECONDS[3], SECONDS[-1]):
        within = sum(seconds <= bound for seconds in whole)
        assert value(registry, "tsnd_end_to_end_seconds_bucket", le=str(bound)) == within
    by_stage = [value(registry, "tsnd_stage_seconds_sum", stage=stage) for stage in STAGES]
    assert sum(by_stage) == pytest.approx(sum(whole))


def test_runs_noted_while_others_are_counted_are_all_there():
    registry = CollectorRegistry()
    model = StageHistograms(registry).labels("m", "1")

    def note_many():
        for _ in range(20_000):
            model.note(RUN)

    noting = threading.Thread(target=note_many)
    noting.start()
    while noting.is_alive():
        model.read()
    noting.join()

    assert value(registry, "tsnd_end_to_end_seconds_count") == 20_000 * RUN.snippets


def test_a_model_that_is_removed_is_no_longer_scraped():
    registry = CollectorRegistry()
    histograms = StageHistograms(registry)
    histograms.labels("m", "1").note(RUN)
    histograms.remove("m", "1")

    assert value(registry, "tsnd_end_to_end_seconds_count") is None
