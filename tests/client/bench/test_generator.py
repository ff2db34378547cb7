"""The generator in virtual time, against servers that are a few lines each."""

import asyncio

import pytest

from tests.virtual_time import VirtualTimeLoop, run_in_virtual_time
from tsnd_client import Priority
from tsnd_client.bench.arrivals import Arrivals
from tsnd_client.bench.generator import Timing, new_run, run_load
from tsnd_client.bench.ledger import Answered, Refused
from tsnd_client.bench.streams import StreamKind, closed_feeds, open_feeds
from tsnd_client.bench.summary import holds, summarize

SERVICE_S = 0.001


class Lane:
    """Answers in 1 ms; while it stalls, or for ever, it neither reads nor answers."""

    def __init__(self, sink, *, stall_s=(0.0, 0.0), outcome=None):
        self.sink, self.stall_s, self.outcome = sink, stall_s, outcome or Answered(batch_size=1)
        self.unanswered = []
        self.most_unanswered = 0

    async def send(self, ticket):
        self.unanswered.append(ticket)
        self.most_unanswered = max(self.most_unanswered, len(self.unanswered))
        loop = asyncio.get_running_loop()
        begin_s, end_s = self.stall_s
        if begin_s <= loop.time() < end_s:
            await asyncio.sleep(end_s - loop.time())
        loop.call_later(SERVICE_S, self.answer, ticket)

    def answer(self, ticket):
        if ticket in self.unanswered:
            self.unanswered.remove(ticket)
            self.settle(ticket, self.outcome)

    def settle(self, ticket, outcome):
        while ticket.left:
            self.sink.settle(ticket, outcome)

    async def finish(self, patience_s):
        await asyncio.sleep(min(patience_s, 2 * SERVICE_S))
        for ticket in self.unanswered:
            self.settle(ticket, Refused("CANCELLED"))


class Door:
    def __init__(self, **options):
        self.options, self.lanes = options, []

    async def open_lane(self, feed, sink):
        self.lanes.append(Lane(sink, **self.options))
        return self.lanes[-1]


def load(door, kinds, rate_per_s=None, *, stop_s=None, arrivals=Arrivals.CONSTANT, **timing):
    """Run a load; returns the run."""

    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        times = Timing(**{"warm_up_s": 0.0, "duration_s": 5.0, "drain_s": 2.0, **timing})
        run = new_run(times, loop.time_ns)
        if stop_s is not None:
            loop.call_later(stop_s, run.stop)
        feeds = closed_feeds(kinds) if rate_per_s is None else open_feeds(kinds, rate_per_s)
        await run_load(run, door, feeds, drain_s=times.drain_s, arrivals=arrivals, seed=0)
        return run

    return run_in_virtual_time(main())


def summary_of(run, rate_per_s=None):
    return summarize(run, rate_per_s, max_slip_ms=10.0)


def test_an_open_loop_sends_at_its_rate():
    summary = summary_of(load(Door(), [StreamKind(count=4)], 200.0))

    assert summary.all.due == pytest.approx(1000, abs=4)
    assert summary.answered_per_s == pytest.approx(200, rel=0.01)
    assert summary.all.latency_ms.max == pytest.approx(1.0, abs=0.1)
    assert summary.accounts_close


def test_poisson_arrivals_come_at_their_rate_too():
    summary = summary_of(load(Door(), [StreamKind(count=4)], 200.0, arrivals=Arrivals.POISSON))

    assert summary.all.due == pytest.approx(1000, abs=4 * 1000**0.5)


def test_a_stall_shows_in_the_latency_of_all_that_was_due_meanwhile():
    run = load(Door(stall_s=(2.0, 3.0)), [StreamKind()], 100.0)
    latency_ms = summary_of(run).all.latency_ms

    # 100 of 500 snippets were due in that second; they waited for 0 to 1 s of it.
    assert latency_ms.p50 == pytest.approx(1.0, abs=0.1)
    assert latency_ms.p90 == pytest.approx(500, abs=20)
    assert latency_ms.p99 == pytest.approx(950, abs=20)
    assert latency_ms.max == pytest.approx(1000, abs=20)
    assert run.sent_late == pytest.approx(99, abs=2)


def test_a_stall_is_seen_in_its_second():
    summary = summary_of(load(Door(stall_s=(2.0, 3.0)), [StreamKind()], 100.0))

    worst_ms = [second.max_ms for second in summary.over_time]
    assert [worst > 500 for worst in worst_ms] == [False, False, True, False, False]


def test_a_closed_loop_hides_the_same_stall():
    summary = summary_of(load(Door(stall_s=(2.0, 3.0)), [StreamKind(in_flight=1)]))

    assert summary.all.latency_ms.p99_9 < 2.0


def test_a_closed_loop_keeps_so_many_in_flight():
    door = Door()
    summary = summary_of(load(door, [StreamKind(count=2, group=4, in_flight=12)]))

    assert [lane.most_unanswered for lane in door.lanes] == [3, 3]
    # Two streams of three messages of four snippets, each away for 1 ms.
    assert summary.answered_per_s == pytest.approx(24_000, rel=0.01)


def test_the_warm_up_is_not_measured():
    run = load(Door(stall_s=(0.0, 0.9)), [StreamKind()], 100.0, warm_up_s=1.0)

    assert summary_of(run).all.latency_ms.max < 2.0
    assert summary_of(run).all.due == pytest.approx(500, abs=1)


def test_what_could_not_be_sent_in_time_is_accounted_for():
    run = load(Door(stall_s=(2.0, 100.0)), [StreamKind()], 100.0)
    counts = summary_of(run).all

    assert counts.due == pytest.approx(500, abs=1)
    assert counts.sent == counts.answered + counts.refused["CANCELLED"]
    assert counts.refused == {"CANCELLED": 1}
    assert counts.due - counts.sent == pytest.approx(299, abs=2)


def test_refusals_are_counted_by_code():
    summary = summary_of(load(Door(outcome=Refused("DEADLINE_EXCEEDED")), [StreamKind()], 10.0))

    assert summary.all.answered == 0
    assert summary.all.refused == {"DEADLINE_EXCEEDED": summary.all.sent}
    assert summary.all.deadline_missed == summary.all.sent
    assert summary.accounts_close


def test_a_run_that_is_stopped_tells_what_it_measured():
    run = load(Door(), [StreamKind(count=4)], 200.0, stop_s=2.0)
    summary = summary_of(run)

    assert summary.measured_s == pytest.approx(2.0)
    assert summary.all.due == pytest.approx(400, abs=4)
    assert summary.answered_per_s == pytest.approx(200, rel=0.02)


def test_a_run_that_is_stopped_while_it_warms_up_has_measured_nothing():
    summary = summary_of(load(Door(), [StreamKind()], 100.0, warm_up_s=2.0, stop_s=1.0))

    assert (summary.measured_s, summary.answered_per_s, summary.all.due) == (0.0, 0.0, 0)
    assert summary.accounts_close


def test_priorities_have_their_own_accounts():
    kinds = [
        StreamKind(rate=30.0, priority=Priority.REAL_TIME),
        StreamKind(rate=10.0, priority=Priority.BULK),
    ]
    summary = summary_of(load(Door(), kinds, 40.0))

    assert list(summary.by_priority) == ["real-time", "bulk"]
    assert summary.by_priority["real-time"].due == pytest.approx(150, abs=1)
    assert summary.by_priority["bulk"].due == pytest.approx(50, abs=1)


def test_groups_are_due_together():
    summary = summary_of(load(Door(), [StreamKind(group=8)], 80.0))

    assert summary.all.due % 8 == 0
    assert summary.all.due == pytest.approx(400, abs=8)


def test_a_bound_holds_when_99_percent_of_what_was_due_was_answered_within_it():
    run = load(Door(), [StreamKind()], 100.0)

    assert holds(run, 1.1)
    assert not holds(run, 0.5)


def test_a_bound_does_not_hold_when_snippets_were_refused_fast():
    assert not holds(load(Door(outcome=Refused("RESOURCE_EXHAUSTED")), [StreamKind()], 100.0), 10.0)


def test_a_punctual_generator_is_not_late():
    generator = summary_of(load(Door(), [StreamKind()], 100.0)).generator

    assert generator.slip_ms.max < 0.1
    assert not generator.is_late


def test_a_generator_that_wakes_late_says_so():
    run = load(Door(), [StreamKind()], 100.0)
    run.slips.add(50_000, times=run.slips.count)

    assert summary_of(run).generator.is_late
