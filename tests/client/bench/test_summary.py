import pytest

from tsnd_client import Priority
from tsnd_client.bench.generator import Run
from tsnd_client.bench.histogram import Histogram
from tsnd_client.bench.ledger import Answered, Ledger, Refused, Ticket
from tsnd_client.bench.summary import holds, mean_batch, percentiles, summarize

SECOND = 1_000_000_000


def run_with(latencies_ms, refused=0):
    """A finished run of 10 s; its snippets were due in the first."""
    ledger = Ledger(from_ns=0, until_ns=10 * SECOND)
    run = Run(ledger, clock_ns=lambda: 0)
    account = ledger.account(Priority.NORMAL, 0)
    account.due = account.sent = len(latencies_ms) + refused
    for latency_ms in latencies_ms:
        ledger.settle(Ticket(0, 1, account), Answered(batch_size=2), round(latency_ms * 1e6))
    for _ in range(refused):
        ledger.settle(Ticket(0, 1, account), Refused("RESOURCE_EXHAUSTED"), 0)
    return run


def test_a_mean_batch_is_snippets_by_executions():
    # Two executions of 4 and four of 1.
    assert mean_batch({4: 8, 1: 4}) == 2.0


def test_unknown_batches_have_no_mean():
    assert mean_batch({0: 10}) == 0.0


def test_percentiles_are_milliseconds():
    histogram = Histogram()
    for value_us in range(1, 1001):
        histogram.add(value_us)

    found = percentiles(histogram)

    assert (found.p50, found.p90, found.p99, found.p99_9) == (0.5, 0.9, 0.99, 0.999)
    assert found.max == 1.0


def test_throughput_is_by_the_time_that_was_measured():
    assert summarize(run_with([5] * 200), 20.0, max_slip_ms=10).answered_per_s == 20


@pytest.mark.parametrize(("fast", "slow", "refused", "held"), [
    (99, 1, 0, True), (98, 2, 0, False), (99, 0, 1, True), (98, 1, 1, False), (0, 0, 0, False),
])  # fmt: skip
def test_a_bound_is_held_by_99_of_100_that_were_due(fast, slow, refused, held):
    assert holds(run_with([5] * fast + [50] * slow, refused), 10.0) is held


def test_a_busy_generator_is_late():
    run = run_with([5])
    assert not summarize(run, None, max_slip_ms=10).generator.is_late

    run.busy = 0.95
    assert summarize(run, None, max_slip_ms=10).generator.is_late
