import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.virtual_time import VirtualTimeLoop, run_in_virtual_time
from tsnd_daemon.batcher import MAX_BATCHES_IN_HAND, Batcher, Close, Wait, decide
from tsnd_daemon.errors import DeadlineExpired, ExecutionFailed, ExecutorLost, QueueFull
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

POLICY = BatchPolicy(max_batch_size=4, max_queue_delay_us=2_000, max_queue_size=8)
MS = 1_000_000


def ask(*, pending, oldest_ns=0, now_ns=0, in_hand=0):
    return decide(
        pending=pending, oldest_ns=oldest_ns, now_ns=now_ns, batches_in_hand=in_hand, policy=POLICY
    )


def test_an_empty_queue_waits_for_a_snippet():
    assert ask(pending=0) == Wait(ns=None)


def test_a_batch_closes_when_its_oldest_has_waited_max_queue_delay():
    assert ask(pending=2, now_ns=2 * MS - 1) == Wait(ns=1)
    assert ask(pending=2, now_ns=2 * MS) == Close(size=2)


def test_a_full_batch_closes_at_once():
    assert ask(pending=4) == Close(size=4)
    assert ask(pending=7) == Close(size=4)


def test_a_busy_executor_gets_only_full_batches():
    assert ask(pending=3, now_ns=60 * MS, in_hand=1) == Wait(ns=None)
    assert ask(pending=4, in_hand=1) == Close(size=4)


def test_no_batch_closes_while_one_runs_and_one_is_handed_over():
    assert ask(pending=8, now_ns=60 * MS, in_hand=MAX_BATCHES_IN_HAND) == Wait(ns=None)


class Runner:
    """Takes some virtual time per batch, remembers batches, can be told to fail."""

    def __init__(self, *, execution_s=0.001, failures=()):
        self.batches: list[list[str]] = []
        self._execution_s = execution_s
        self._failures = list(failures)
        self._turn = asyncio.Lock()

    async def execute(self, snippets: Sequence[Snippet]) -> Execution:
        async with self._turn:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            self.batches.append([snippet.id for snippet in snippets])
            start_ns = loop.time_ns()
            await asyncio.sleep(self._execution_s)
            if self._failures:
                raise self._failures.pop(0)
            rows = np.array([[float(s.pixels[0])] for s in snippets], np.float32)
            return Execution({"scores": rows}, start_ns, loop.time_ns())


def snippet(number):
    return Snippet(f"s{number}", np.array([number % 256], np.uint8))


def batcher_for(runner, policy=POLICY):
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    metrics = Metrics(CollectorRegistry())
    return Batcher("m", runner, policy, metrics, clock=loop.time_ns)


async def outcomes(runner, arrivals_s, policy=POLICY):
    """Submit snippets at given times; return their scores or errors in that order."""
    batcher = batcher_for(runner, policy)
    task = asyncio.create_task(batcher.run())

    async def one(number, at_s):
        await asyncio.sleep(at_s)
        return await batcher.submit(snippet(number))

    results = await asyncio.gather(
        *(one(i, at) for i, at in enumerate(arrivals_s)), return_exceptions=True
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return results


@given(
    arrivals_ms=st.lists(st.integers(0, 30), min_size=1, max_size=60).map(sorted),
    execution_ms=st.integers(0, 9),
    max_batch_size=st.integers(1, 6),
)
def test_every_snippet_gets_its_own_scores_once_in_order_and_in_time(
    arrivals_ms, execution_ms, max_batch_size
):
    policy = BatchPolicy(max_batch_size, max_queue_delay_us=2_000, max_queue_size=1_000)

    async def scenario():
        runner = Runner(execution_s=execution_ms / 1e3)
        # A nanosecond apart, for timers of the same instant run in any order.
        arrivals_s = [ms / 1e3 + i / 1e9 for i, ms in enumerate(arrivals_ms)]
        return runner, await outcomes(runner, arrivals_s, policy)

    runner, results = run_in_virtual_time(scenario())

    run_order = [name for batch in runner.batches for name in batch]
    assert run_order == [f"s{i}" for i in range(len(arrivals_ms))]
    assert all(len(batch) <= max_batch_size for batch in runner.batches)
    assert [scores.outputs["scores"][0] for scores in results] == list(range(len(arrivals_ms)))
    # Waiting has two reasons only: company (max_queue_delay), or earlier work.
    earlier_ms = execution_ms * (len(runner.batches) + 1)
    assert all(scores.queue_ns <= (2 + earlier_ms) * MS for scores in results)


def test_an_idle_executor_never_waits_longer_than_max_queue_delay():
    async def scenario():
        return await outcomes(Runner(), [0.0, 0.0005, 0.1])

    first, second, third = run_in_virtual_time(scenario())

    assert [first.queue_ns, second.queue_ns, third.queue_ns] == pytest.approx(
        [2 * MS, 1.5 * MS, 2 * MS], abs=1_000
    )
    assert [first.batch_size, third.batch_size] == [2, 1]


def test_the_queue_fills_while_the_executor_is_busy():
    async def scenario():
        runner = Runner(execution_s=0.05)
        await outcomes(runner, [0.0, 0.01, 0.02, 0.03])
        return runner.batches

    assert run_in_virtual_time(scenario()) == [["s0"], ["s1", "s2", "s3"]]


def test_a_full_queue_refuses_at_once():
    async def scenario():
        batcher = batcher_for(Runner())
        waiting = [batcher.submit(snippet(i)) for i in range(POLICY.max_queue_size)]
        with pytest.raises(QueueFull, match="8 snippets waiting"):
            batcher.submit(snippet(9))
        return len(waiting)

    assert run_in_virtual_time(scenario()) == 8


def test_withdrawn_snippets_take_no_place_in_a_full_queue():
    async def scenario():
        batcher = batcher_for(Runner())
        gone = [batcher.submit(snippet(i)) for i in range(POLICY.max_queue_size)]
        for future in gone:
            future.cancel()
        return batcher.submit(snippet(9))

    assert not run_in_virtual_time(scenario()).cancelled()


def test_a_withdrawn_snippet_costs_no_compute():
    async def scenario():
        runner = Runner()
        batcher = batcher_for(runner)
        futures = [batcher.submit(snippet(i)) for i in range(3)]
        futures[1].cancel()
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(futures[0], futures[2])
        task.cancel()
        return runner.batches

    assert run_in_virtual_time(scenario()) == [["s0", "s2"]]


def test_an_expired_snippet_is_dropped_before_it_costs_compute():
    async def scenario():
        runner = Runner()
        batcher = batcher_for(runner)
        late = batcher.submit(snippet(0), deadline_ns=1 * MS)
        fine = batcher.submit(snippet(1), deadline_ns=900 * MS)
        task = asyncio.create_task(batcher.run())
        scores = await fine
        task.cancel()
        with pytest.raises(DeadlineExpired, match=r"'s0' waited 2\.0 ms"):
            await late
        return runner.batches, scores

    batches, scores = run_in_virtual_time(scenario())

    assert batches == [["s1"]]
    assert isinstance(scores, Scores)


def test_a_failed_batch_fails_its_own_snippets_and_no_others():
    async def scenario():
        runner = Runner(failures=[ValueError("no memory")])
        return await outcomes(runner, [0.0, 0.0, 0.1])

    first, second, third = run_in_virtual_time(scenario())

    assert isinstance(first, ExecutionFailed)
    assert isinstance(second, ExecutionFailed)
    assert "no memory" not in str(first)
    assert isinstance(third, Scores)


def test_a_lost_executor_ends_the_batcher():
    async def scenario():
        batcher = batcher_for(Runner(failures=[ExecutorLost("sticky")]))
        future = batcher.submit(snippet(0))
        with pytest.raises(ExceptionGroup) as caught:
            await batcher.run()
        assert isinstance(future.exception(), ExecutionFailed)
        return caught.value

    assert run_in_virtual_time(scenario()).subgroup(ExecutorLost)


def test_metrics_count_executions_inferences_and_nothing_pending_at_the_end():
    async def scenario():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        registry = CollectorRegistry()
        batcher = Batcher("m", Runner(), POLICY, Metrics(registry), clock=loop.time_ns)
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(*(batcher.submit(snippet(i)) for i in range(6)))
        task.cancel()
        return registry

    registry = run_in_virtual_time(scenario())
    value = registry.get_sample_value

    assert value("tsnd_executions_total", {"model": "m"}) == 2
    assert value("tsnd_inferences_total", {"model": "m"}) == 6
    assert value("tsnd_batch_size_sum", {"model": "m"}) == 6
    assert value("tsnd_pending_snippets", {"model": "m"}) == 0
    assert value("tsnd_snippet_duration_seconds_count", {"model": "m"}) == 6
