import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.virtual_time import VirtualTimeLoop, run_in_virtual_time
from tsnd_daemon.errors import (
    DeadlineExpired,
    ExecutionFailed,
    ExecutorLost,
    ModelLost,
    QueueFull,
)
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.scheduling.batcher import Batcher
from tsnd_daemon.scheduling.device_share import Device
from tsnd_daemon.scheduling.waiting_room import NORMAL
from tsnd_daemon.settings import BatchPolicy
from tsnd_daemon.snippets import Execution, Scores, Snippet

POLICY = BatchPolicy(max_batch_size=4, max_queue_delay_us=2_000, max_queue_size=8)
MS = 1_000_000
REAL_TIME, BULK = 0, 2
LABELS = {"model": "m", "version": "3"}


class Runner:
    """Takes some virtual time per batch, remembers batches, can be told to fail."""

    slots = 1

    def __init__(self, *, execution_s=0.001, failures=()):
        self.batches: list[list[str]] = []
        self._execution_s = execution_s
        self._failures = list(failures)
        self._turn = asyncio.Lock()

    def submit(self, snippets: Sequence[Snippet]) -> asyncio.Future[Execution]:
        return asyncio.ensure_future(self._run(snippets))

    async def _run(self, snippets: Sequence[Snippet]) -> Execution:
        async with self._turn:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            self.batches.append([snippet.id for snippet in snippets])
            start_ns = loop.time_ns()
            await asyncio.sleep(self._execution_s)
            if self._failures and (failure := self._failures.pop(0)) is not None:
                raise failure
            rows = np.array([[float(np.asarray(s.pixels)[0])] for s in snippets], np.float32)
            return Execution(
                {"scores": rows}, start_ns, loop.time_ns(), begun_ns=start_ns, ready_ns=start_ns
            )


def snippet(number):
    return Snippet(f"s{number}", np.array([number % 256], np.uint8))


def batcher_for(runner, policy=POLICY, **options):
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    metrics = Metrics(CollectorRegistry()).for_model("m", 1)
    runners = runner if isinstance(runner, list) else [runner]
    return Batcher("m", runners, policy, metrics, clock=loop.time_ns, **options)


async def outcomes(runner, arrivals_s, policy=POLICY):
    """Submit snippets at given times; return their scores or errors in that order."""
    batcher = batcher_for(runner, policy)
    task = asyncio.create_task(batcher.run())

    async def one(number, at_s):
        await asyncio.sleep(at_s)
        return await batcher.submit(snippet(number)).scores

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


def test_a_full_queue_refuses_at_once_and_says_when_to_try_again():
    async def scenario():
        batcher = batcher_for(Runner())
        waiting = [batcher.submit(snippet(i)) for i in range(POLICY.max_queue_size)]
        with pytest.raises(QueueFull, match=r"'s9': model 'm' has 8 snippets waiting") as caught:
            batcher.submit(snippet(9))
        return len(waiting), caught.value.retry_after_ns

    assert run_in_virtual_time(scenario()) == (8, 100 * MS)


def test_the_time_to_try_again_follows_the_pace_of_the_executor():
    async def scenario():
        batcher = batcher_for(Runner(execution_s=0.4))
        task = asyncio.create_task(batcher.run())
        done = [batcher.submit(snippet(i)).scores for i in range(4)]
        await asyncio.gather(*done)
        for i in range(POLICY.max_queue_size):
            batcher.submit(snippet(i))
        with pytest.raises(QueueFull) as caught:
            batcher.submit(snippet(9))
        task.cancel()
        return caught.value.retry_after_ns

    # 0.1 s a snippet, and room for half of what waits.
    assert run_in_virtual_time(scenario()) == pytest.approx(400 * MS)


def test_a_full_queue_sheds_bulk_for_what_is_more_urgent():
    async def scenario():
        batcher = batcher_for(Runner())
        bulk = [batcher.submit(snippet(i), priority=BULK) for i in range(POLICY.max_queue_size)]
        urgent = batcher.submit(snippet(8), priority=REAL_TIME)
        with pytest.raises(QueueFull):
            batcher.submit(snippet(9), priority=BULK)
        return [w.scores.done() for w in bulk], bulk[-1].scores.exception(), urgent

    done, shed, urgent = run_in_virtual_time(scenario())

    assert done == [False] * 7 + [True]
    assert isinstance(shed, QueueFull)
    assert "'s7' made room" in str(shed)
    assert not urgent.scores.done()


def test_a_greedy_stream_makes_room_for_others_in_a_full_queue():
    async def scenario():
        batcher = batcher_for(Runner())
        greedy = [batcher.submit(snippet(i), stream="greedy") for i in range(8)]
        others = [batcher.submit(snippet(i), stream=f"live {i}") for i in range(7)]
        with pytest.raises(QueueFull):
            batcher.submit(snippet(9), stream="greedy")
        return sum(w.scores.done() for w in greedy), sum(w.scores.done() for w in others)

    assert run_in_virtual_time(scenario()) == (7, 0)


def test_urgent_snippets_run_first_and_streams_take_turns():
    async def scenario():
        runner = Runner()
        batcher = batcher_for(runner)
        waiting = [
            batcher.submit(snippet(number), stream=stream, priority=priority)
            for number, (stream, priority) in enumerate(
                [("a", NORMAL)] * 4 + [("b", NORMAL)] * 2 + [("c", BULK), ("d", REAL_TIME)]
            )
        ]
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(*(w.scores for w in waiting))
        task.cancel()
        return runner.batches

    assert run_in_virtual_time(scenario()) == [["s7", "s0", "s4", "s1"], ["s5", "s2", "s3", "s6"]]


def test_a_withdrawn_snippet_leaves_its_place_and_costs_no_compute():
    async def scenario():
        runner = Runner()
        batcher = batcher_for(runner)
        waiting = [batcher.submit(snippet(i)) for i in range(POLICY.max_queue_size)]
        for gone in waiting[1:]:
            batcher.withdraw(gone)
        last = batcher.submit(snippet(9))
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(waiting[0].scores, last.scores)
        task.cancel()
        return runner.batches

    assert run_in_virtual_time(scenario()) == [["s0", "s9"]]


def test_a_snippet_withdrawn_while_it_runs_is_forgotten():
    async def scenario():
        runner = Runner(execution_s=0.1)
        batcher = batcher_for(runner)
        task = asyncio.create_task(batcher.run())
        first = batcher.submit(snippet(0))
        await asyncio.sleep(0.05)
        batcher.withdraw(first)
        second = await batcher.submit(snippet(1)).scores
        task.cancel()
        return runner.batches, first.scores.cancelled(), second.outputs["scores"][0]

    assert run_in_virtual_time(scenario()) == ([["s0"], ["s1"]], True, 1)


def test_a_snippet_whose_waiter_was_cancelled_leaves_its_place_too():
    async def scenario():
        runner = Runner()
        batcher = batcher_for(runner)
        gone, stays = batcher.submit(snippet(0)), batcher.submit(snippet(1))
        waiter = asyncio.ensure_future(asyncio.wait_for(gone.scores, None))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        batcher.withdraw(gone)
        task = asyncio.create_task(batcher.run())
        await stays.scores
        task.cancel()
        return runner.batches

    assert run_in_virtual_time(scenario()) == [["s1"]]


def test_answered_snippets_are_let_go_long_before_their_deadlines():
    async def scenario():
        batcher = batcher_for(Runner(), replace(POLICY, max_batch_size=1))
        task = asyncio.create_task(batcher.run())
        # It waits while there is anything more urgent, and its deadline is the first.
        bulk = batcher.submit(snippet(0), priority=BULK, deadline_ns=10**15)
        alive, urgent = [], []
        for number in range(100):
            sent = snippet(number)
            alive.append(weakref.ref(sent.pixels))
            urgent.append(batcher.submit(sent, priority=REAL_TIME, deadline_ns=10**16).scores)
            del sent
            if number >= 4:
                await urgent.pop(0)
        still_waits = not bulk.scores.done()
        task.cancel()
        return still_waits, sum(ref() is not None for ref in alive)

    still_waits, alive = run_in_virtual_time(scenario())

    assert still_waits
    assert alive <= 3 * POLICY.max_queue_size


def test_an_expired_snippet_is_answered_at_its_deadline_and_costs_no_compute():
    async def scenario():
        runner = Runner(execution_s=0.1)
        batcher = batcher_for(runner)
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(batcher.run())
        running = batcher.submit(snippet(0))
        await asyncio.sleep(0.01)
        fine = batcher.submit(snippet(1), deadline_ns=900 * MS)
        late = batcher.submit(snippet(2), deadline_ns=30 * MS)
        with pytest.raises(DeadlineExpired, match=r"'s2' waited 20\.0 ms"):
            await late.scores
        answered_s = loop.time()
        await asyncio.gather(running.scores, fine.scores)
        task.cancel()
        return runner.batches, answered_s

    batches, answered_s = run_in_virtual_time(scenario())

    assert batches == [["s0"], ["s1"]]
    assert answered_s == pytest.approx(0.03, abs=1e-6)


def test_a_failed_batch_fails_its_own_snippets_and_no_others():
    async def scenario():
        runner = Runner(failures=[ValueError("no memory")])
        return await outcomes(runner, [0.0, 0.0, 0.1])

    first, second, third = run_in_virtual_time(scenario())

    assert isinstance(first, ExecutionFailed)
    assert isinstance(second, ExecutionFailed)
    assert "no memory" not in str(first)
    assert isinstance(third, Scores)


def test_a_lost_executor_ends_the_batcher_and_answers_everyone():
    async def scenario():
        batcher = batcher_for(Runner(failures=[ExecutorLost("sticky")]))
        waiting = [batcher.submit(snippet(i)) for i in range(8)]
        with pytest.raises(ExecutorLost) as caught:
            await batcher.run()
        with pytest.raises(ModelLost):
            batcher.submit(snippet(9))
        await batcher.drained()
        return caught.value, [type(w.scores.exception()) for w in waiting]

    error, ends = run_in_virtual_time(scenario())

    assert str(error) == "sticky"
    assert ends == [ExecutionFailed] * 8


def test_a_lost_executor_leaves_no_snippet_unanswered_however_many_wait():
    async def scenario():
        batcher = batcher_for(
            Runner(failures=[ExecutorLost("sticky")]), replace(POLICY, max_queue_size=100)
        )
        waiting = [batcher.submit(snippet(i)) for i in range(30)]
        with pytest.raises(ExecutorLost):
            await batcher.run()
        return [w.scores.done() for w in waiting]

    assert run_in_virtual_time(scenario()) == [True] * 30


def test_an_executor_that_gives_too_few_rows_fails_its_batch_alone():
    class Short(Runner):
        async def _run(self, snippets):
            execution = await super()._run(snippets)
            if len(self.batches) == 1:
                execution = replace(execution, outputs={"scores": np.zeros((1, 1), np.float32)})
            return execution

    async def scenario():
        return await outcomes(Short(), [0.0, 0.0, 0.1])

    first, second, third = run_in_virtual_time(scenario())

    assert isinstance(first, ExecutionFailed)
    assert isinstance(second, ExecutionFailed)
    assert isinstance(third, Scores)


def test_two_models_with_work_share_a_device_by_their_weights():
    async def scenario():
        device, runners = Device(), {1.0: Runner(), 3.0: Runner()}
        runners[1.0]._turn = runners[3.0]._turn  # as on a GPU, one runs at a time
        policy = replace(POLICY, max_queue_size=12)
        batchers = {
            weight: batcher_for(runner, policy, device=device, weight=weight)
            for weight, runner in runners.items()
        }
        work = [
            asyncio.create_task(run)
            for batcher in batchers.values()
            for run in (batcher.run(), *(keep_busy(batcher) for _ in range(12)))
        ]
        await asyncio.sleep(1.0)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        return {weight: len(runner.batches) for weight, runner in runners.items()}

    async def keep_busy(batcher):
        while True:
            await batcher.submit(snippet(0)).scores

    ran = run_in_virtual_time(scenario())

    assert ran[3.0] / ran[1.0] == pytest.approx(3.0, rel=0.1)


def test_an_executor_that_hangs_counts_as_lost():
    async def scenario():
        batcher = batcher_for(Runner(execution_s=1e9), execution_timeout_s=3.0)
        loop, late = asyncio.get_running_loop(), []
        waiting = [batcher.submit(snippet(i)) for i in range(8)]
        loop.call_later(1.0, lambda: late.append(batcher.submit(snippet(9))))
        with pytest.raises(ExecutorLost) as caught:
            await batcher.run()
        return (
            caught.value,
            loop.time(),
            [type(w.scores.exception()) for w in (*waiting, *late)],
        )

    error, ended_s, ends = run_in_virtual_time(scenario())

    assert "has hung for more than 3 s" in str(error)
    assert ended_s == pytest.approx(3.0)
    assert ends == [ExecutionFailed] * 8 + [ModelLost]


def test_several_executors_run_side_by_side():
    async def scenario():
        runners = [Runner(execution_s=1.0), Runner(execution_s=1.0)]
        batcher = batcher_for(runners)
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(*(batcher.submit(snippet(i)).scores for i in range(8)))
        task.cancel()
        return asyncio.get_running_loop().time(), [len(r.batches) for r in runners]

    assert run_in_virtual_time(scenario()) == (pytest.approx(1.0), [1, 1])


def test_a_drained_batcher_has_answered_everything():
    async def scenario():
        batcher = batcher_for(Runner())
        await batcher.drained()
        task = asyncio.create_task(batcher.run())
        waiting = [batcher.submit(snippet(i)) for i in range(7)]
        await batcher.drained()
        task.cancel()
        return [w.scores.done() for w in waiting]

    assert all(run_in_virtual_time(scenario()))


def test_metrics_count_executions_inferences_and_nothing_pending_at_the_end():
    async def scenario():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        registry = CollectorRegistry()
        metrics = Metrics(registry).for_model("m", 3)
        batcher = Batcher("m", [Runner()], POLICY, metrics, clock=loop.time_ns)
        waiting = [batcher.submit(snippet(i)) for i in range(6)]
        before = registry.get_sample_value("tsnd_pending_snippets", LABELS)
        task = asyncio.create_task(batcher.run())
        await asyncio.gather(*(w.scores for w in waiting))
        task.cancel()
        return registry, before

    registry, before = run_in_virtual_time(scenario())
    value = registry.get_sample_value

    assert before == 6
    assert value("tsnd_executions_total", LABELS) == 2
    assert value("tsnd_inferences_total", LABELS) == 6
    assert value("tsnd_batch_size_sum", LABELS) == 6
    assert value("tsnd_pending_snippets", LABELS) == 0
    assert value("tsnd_snippet_duration_seconds_count", LABELS) == 6


WORK = st.lists(
    st.tuples(
        st.integers(0, 40),  # arrives at, ms
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([REAL_TIME, NORMAL, BULK]),
        st.none() | st.integers(0, 30),  # expires after, ms
        st.none() | st.integers(0, 30),  # withdrawn after, ms
    ),
    max_size=40,
)


@given(
    work=WORK,
    failures=st.lists(st.booleans(), max_size=6),
    executors=st.integers(1, 2),
    execution_ms=st.integers(0, 9),
    policy=st.builds(
        BatchPolicy,
        max_batch_size=st.integers(3, 5),
        max_queue_delay_us=st.just(2_000),
        max_queue_size=st.integers(5, 12),
        preferred_batch_sizes=st.sampled_from([(), (2,)]),
        stream_quantum=st.integers(1, 3),
    ),
)
def test_whatever_happens_every_snippet_ends_once_and_streams_keep_their_order(
    work, failures, executors, execution_ms, policy
):
    async def scenario():
        errors = [ValueError("failed") if fails else None for fails in failures]
        runners = [
            Runner(execution_s=execution_ms / 1e3, failures=errors) for _ in range(executors)
        ]
        batcher = batcher_for(runners, policy)
        task = asyncio.create_task(batcher.run())
        ends = await asyncio.gather(
            *(one(batcher, number, item) for number, item in enumerate(work))
        )
        await batcher.drained()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [r.batches for r in runners], ends

    async def one(batcher, number, item):
        arrives_ms, stream, priority, expires_ms, withdrawn_ms = item
        loop = asyncio.get_running_loop()
        await asyncio.sleep(arrives_ms / 1e3 + number / 1e9)
        now_ns = batcher._clock()
        deadline_ns = None if expires_ms is None else now_ns + expires_ms * MS
        try:
            waiting = batcher.submit(
                snippet(number), stream=stream, priority=priority, deadline_ns=deadline_ns
            )
            if withdrawn_ms is not None:
                loop.call_later(withdrawn_ms / 1e3, batcher.withdraw, waiting)
            return await waiting.scores
        except (QueueFull, DeadlineExpired, ExecutionFailed) as err:
            return err
        except asyncio.CancelledError:
            return "withdrawn"

    batches, ends = run_in_virtual_time(scenario())

    ran = [int(name[1:]) for of_runner in batches for batch in of_runner for name in batch]
    assert len(ran) == len(set(ran)), "nothing runs twice"
    for number, end in enumerate(ends):
        match end:
            case Scores():
                assert end.outputs["scores"][0] == number
                assert number in ran
                # Only company (max_queue_delay) or earlier and more urgent work keeps it.
                assert end.queue_ns <= (2 + execution_ms * (len(ran) + 2)) * MS
            case QueueFull() | DeadlineExpired():
                assert number not in ran
            case ExecutionFailed():
                assert number in ran
            case _:
                assert end == "withdrawn"
                assert work[number][4] is not None
    if executors == 1:
        for stream, priority in {(s, p) for _, s, p, *_ in work}:
            of_stream = [n for n in ran if work[n][1:3] == (stream, priority)]
            assert of_stream == sorted(of_stream, key=lambda n: (work[n][0], n))
