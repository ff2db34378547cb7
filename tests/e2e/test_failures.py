"""What breaks under load breaks alone: every snippet is answered once, or its stream ends."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from itertools import count
from statistics import median
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.daemons import running_daemon
from tests.streams import (
    Recorder,
    assert_nothing_is_left,
    endless,
    frame,
    frames,
    paused,
    request,
    run_stream,
    wait_for_samples,
)
from tsnd_client import AsyncClient, Priority
from tsnd_daemon.errors import ExecutorLost

STREAMS, SNIPPETS_EACH = 8, 200
END_S = 20.0
"""Far more than any of these needs, and less than drain_grace_s."""
Batches = list[list[str]]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PENDING = ("tsnd_pending_snippets", "tiny_rgb", "1")
IN_HAND = 2
"""Batches that do not wait any more: one runs, one is handed over."""
STREAM = "/tsnd.v1.SnippetService/ScoreStream"


async def run_streams(daemon, **options):
    """Eight streams at once; returns what each was answered, all accounted for."""
    outcomes = await asyncio.gather(
        *(
            run_stream(daemon.endpoints.grpc, frames(stream, SNIPPETS_EACH), **options)
            for stream in range(STREAMS)
        )
    )
    for stream, outcome in enumerate(outcomes):
        outcome.assert_accounts_for(stream, SNIPPETS_EACH)
    return outcomes


class Gated(Recorder):
    """Runs nothing but warm-ups until its gate opens."""

    def __init__(self, model, batches, gate, **options):
        super().__init__(model, batches, **options)
        self._gate = gate

    def note(self, ids):
        super().note(ids)
        if not self._gate.wait(END_S / 4):
            self._gate.set()  # the test has failed already; let it end


class Breaking(Recorder):
    """Fails or is lost in the batches that it is told to, in start or in finish."""

    def __init__(self, model, batches, *, breaks, error, phase="start", **options):
        super().__init__(model, batches, **options)
        self._breaks, self._error, self._phase = breaks, error, phase
        self._doomed = False

    def note(self, ids):
        super().note(ids)
        self._doomed = self._breaks(len(self.batches))
        if self._doomed and self._phase == "start":
            raise self._error

    def finish(self, slot):
        doomed, self._doomed = self._doomed, False
        outputs = super().finish(slot)
        if doomed:
            raise self._error
        return outputs


@pytest.mark.parametrize("phase", ["start", "finish"])
async def test_batches_that_fail_at_random_fail_their_own_snippets_and_no_others(
    tiny_repository, phase
):
    chance, batches, failed = random.Random(7), Batches(), list[str]()

    def breaks(number):
        if number == 3 or chance.random() < 1 / 50:
            failed.extend(batches[-1])
            return True
        return False

    def flaky(model):
        return Breaking(model, batches, breaks=breaks, error=RuntimeError("odd"), phase=phase)

    async with running_daemon(tiny_repository, make_executor=flaky) as daemon:
        outcomes = await run_streams(daemon)
        await assert_nothing_is_left(daemon)

    assert [outcome.end for outcome in outcomes] == [None] * STREAMS
    rejected = [result for outcome in outcomes for result in outcome.rejected]
    assert {result.code for result in rejected} == {grpc.StatusCode.INTERNAL}
    assert sorted(result.snippet_id for result in rejected) == sorted(failed)


async def health_changes(daemon):
    """Each status that a watcher is told, until the daemon ends."""
    seen = []
    watch = health_pb2_grpc.HealthStub(daemon.channel).Watch(health_pb2.HealthCheckRequest())
    try:
        async for reply in watch:
            seen.append(reply.status)
    except aio.AioRpcError:
        pass
    return seen


@pytest.mark.parametrize("phase", ["start", "finish"])
async def test_a_gpu_that_is_lost_under_load_ends_all_streams_soon_and_the_daemon_aloud(
    tiny_repository, phase
):
    batches = Batches()

    def lost(model):
        return Breaking(
            model,
            batches,
            breaks=lambda number: number >= 20,
            error=ExecutorLost("sticky"),
            phase=phase,
            execution_s=0.005,
        )

    async with asyncio.timeout(END_S):
        with pytest.raises(ExecutorLost):
            async with running_daemon(tiny_repository, make_executor=lost) as daemon:
                watching = asyncio.create_task(health_changes(daemon))
                outcomes = await run_streams(daemon)
                seen = await watching

    assert all(outcome.end is not None for outcome in outcomes)
    assert {r.code.name for o in outcomes for r in o.rejected} <= {"INTERNAL", "UNAVAILABLE"}
    assert seen == [SERVING, NOT_SERVING]


async def test_an_executor_that_hangs_ends_the_daemon_after_all_are_answered(
    tiny_repository, monkeypatch
):
    monkeypatch.setattr("tsnd_daemon.executors.base._CLOSE_S", 0.1)
    batches, gate = Batches(), threading.Event()

    class Hanging(Recorder):
        def note(self, ids):
            super().note(ids)
            if len(batches) >= 20:
                gate.wait(END_S)

    async with asyncio.timeout(END_S):
        with pytest.raises(ExecutorLost) as caught:
            async with running_daemon(
                tiny_repository,
                make_executor=lambda model: Hanging(model, batches),
                execution_timeout_s=0.3,
            ) as daemon:
                watching = asyncio.create_task(health_changes(daemon))
                outcomes = await run_streams(daemon)
                seen = await watching
    gate.set()

    assert "has hung for more than 0.3 s" in "".join(traceback.format_exception(caught.value))
    assert sum(len(outcome.scored) for outcome in outcomes) == sum(len(ids) for ids in batches[:19])
    assert all(outcome.end is not None for outcome in outcomes)
    assert seen == [SERVING, NOT_SERVING]


HANGING_PROGRAM = """
import sys, threading
from tsnd_daemon.__main__ import main
from tsnd_daemon.executors import base
from tsnd_daemon.executors.synthetic import SyntheticExecutor

def start(self, slot, snippets, usual=SyntheticExecutor.start):
    if snippets[0].id == "hang":
        threading.Event().wait()
    usual(self, slot, snippets)

SyntheticExecutor.start = start
base._CLOSE_S = 0.1
sys.exit(main())
"""


@contextmanager
def program(code, *arguments):
    """A Python program with our packages; yields the process."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["protos", "daemon", "client"])}
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


async def test_a_program_whose_executor_hangs_ends_with_status_1(tiny_repository):
    ports = ["--port", "0", "--metrics-port", "0", "--backend", "synthetic"]
    arguments = ["--model-repository", str(tiny_repository), "--execution-timeout-s", "0.3"]
    with program(HANGING_PROGRAM, *arguments, *ports) as process:
        line = await asyncio.to_thread(process.stdout.readline)
        target = line.split("grpc=")[1].split()[0]
        outcome = await run_stream(target, [("hang", frame(0, 0))])
        _, log = await asyncio.to_thread(process.communicate, timeout=END_S)

    assert [result.code for result in outcome.rejected] == [grpc.StatusCode.INTERNAL]
    assert process.returncode == 1
    assert "has hung for more than 0.3 s" in log


ENDLESS_CLIENT = """
import itertools, sys
import numpy as np
from tsnd_client import Client

with Client(sys.argv[1], max_in_flight=32) as client:
    model = client.model("tiny_rgb")
    snippets = ((f"doomed/{i}", np.zeros(model.snippet_shape, np.uint8)) for i in itertools.count())
    for _ in client.score_stream(model, snippets):
        print("streams", flush=True)
"""


async def test_clients_killed_in_mid_stream_leave_nothing_and_the_others_finish(tiny_repository):
    halfway = asyncio.Event()

    async def one_that_is_killed(target):
        with program(ENDLESS_CLIENT, target) as process:
            assert await asyncio.to_thread(process.stdout.readline) == "streams\n"
            process.kill()

    async with running_daemon(
        tiny_repository, make_executor=lambda model: Recorder(model, [], execution_s=0.002)
    ) as daemon:
        target = daemon.endpoints.grpc
        others = [
            asyncio.create_task(run_stream(target, paused(frames(n, 100), 50, halfway)))
            for n in range(3)
        ]
        await asyncio.gather(*(one_that_is_killed(target) for _ in range(8)))
        halfway.set()
        outcomes = await asyncio.gather(*others)
        await assert_nothing_is_left(daemon)

    for stream, outcome in enumerate(outcomes):
        outcome.assert_accounts_for(stream, 100)
        assert len(outcome.scored) == 100


async def test_a_connection_that_breaks_takes_its_waiting_snippets_along(tiny_repository):
    batches, gate = Batches(), threading.Event()
    async with running_daemon(
        tiny_repository, make_executor=lambda m: Gated(m, batches, gate), max_batch_size=1
    ) as daemon:
        doomed = aio.insecure_channel(daemon.endpoints.grpc)
        stream: Any = doomed.stream_stream(STREAM)()
        for index in range(10):
            await stream.write(request(f"stream {index}").SerializeToString())
        score: Any = doomed.unary_unary("/tsnd.v1.SnippetService/Score")
        calls = [score(request(f"call {i}").SerializeToString()) for i in range(10)]
        await wait_for_samples(daemon, {PENDING: 20 - IN_HAND})
        await doomed.close()
        await assert_nothing_is_left(daemon)
        gate.set()
        alive = await run_stream(daemon.endpoints.grpc, frames(0, 5))

    assert len(alive.scored) == 5
    assert sum(len(ids) for ids in batches) == IN_HAND + 5, "what nobody waits for is not run"
    assert all(call.cancelled() or call.done() for call in calls)


async def test_who_does_not_read_is_not_read_while_others_go_on(tiny_repository):
    batches, sent = Batches(), list[str]()
    small_window = [("grpc.http2.bdp_probe", 0)]  # else gRPC takes megabytes of unread replies

    async def write_on(call):
        for index in count():
            sent.append(f"slow {index}")
            await call.write(request(sent[-1]).SerializeToString())

    async with running_daemon(
        tiny_repository, make_executor=lambda model: Recorder(model, batches)
    ) as daemon:
        async with aio.insecure_channel(daemon.endpoints.grpc, options=small_window) as channel:
            slow: Any = channel.stream_stream(STREAM)()
            writing = asyncio.create_task(write_on(slow))
            outcomes = await run_streams(daemon)
            ran = sum(name.startswith("slow") for ids in batches for name in ids)
            writing.cancel()
        await assert_nothing_is_left(daemon)

    assert all(len(outcome.scored) == SNIPPETS_EACH for outcome in outcomes)
    assert ran < len(sent) < 3_000, "what it sends lies unread before the daemon"


async def test_a_stream_occupies_no_more_than_max_in_flight_while_nothing_is_answered(
    tiny_repository,
):
    batches, gate = Batches(), threading.Event()
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Gated(model, batches, gate),
        max_in_flight_per_stream=10,
        max_batch_size=1,
    ) as daemon:
        target = daemon.endpoints.grpc
        greedy = asyncio.create_task(
            run_stream(target, frames(0, 40), max_in_flight=40, group_size=1)
        )
        await wait_for_samples(daemon, {PENDING: 10 - IN_HAND})
        modest = asyncio.create_task(run_stream(target, frames(1, 5)))
        await wait_for_samples(daemon, {PENDING: 15 - IN_HAND})
        gate.set()
        outcomes = await asyncio.gather(greedy, modest)

    for stream, (outcome, number) in enumerate(zip(outcomes, (40, 5), strict=True)):
        outcome.assert_accounts_for(stream, number)
        assert len(outcome.scored) == number


async def test_snippets_whose_time_is_over_are_answered_so_and_cost_no_compute(tiny_repository):
    batches = Batches()
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Recorder(model, batches, execution_s=0.02),
        max_batch_size=4,
    ) as daemon:
        # 8 x 32 in flight are 64 batches, 1.3 s: most wait for longer than this.
        outcomes = await run_streams(daemon, timeout_s=0.1)
        await assert_nothing_is_left(daemon)

    late = [result for outcome in outcomes for result in outcome.rejected]
    scored = [result for outcome in outcomes for result in outcome.scored]
    assert [outcome.end for outcome in outcomes] == [None] * STREAMS
    assert {result.code for result in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert scored
    ran = sorted(name for ids in batches for name in ids)
    assert ran == sorted(result.snippet_id for result in scored)


async def test_a_full_queue_sheds_bulk_for_what_is_more_urgent(tiny_repository):
    gate = threading.Event()
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Gated(model, [], gate),
        max_batch_size=1,
        max_queue_size=8,
    ) as daemon:

        def call(snippet_id, priority):
            return daemon.stub.Score(request(snippet_id, priority=priority))

        bulk = [call(f"bulk {index}", Priority.BULK) for index in range(8 + IN_HAND)]
        await wait_for_samples(daemon, {PENDING: 8})
        live = [call(f"live {index}", Priority.REAL_TIME) for index in range(3)]
        ends = [asyncio.create_task(status_of(call)) for call in bulk]
        while sum(end.done() for end in ends) < len(live):
            await asyncio.wait([e for e in ends if not e.done()], return_when="FIRST_COMPLETED")
        gate.set()
        codes = await asyncio.gather(*ends)
        await asyncio.gather(*live)

    assert codes.count(grpc.StatusCode.OK) == 7
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 3


async def status_of(call):
    try:
        await call
    except aio.AioRpcError as err:
        return err.code()
    return grpc.StatusCode.OK


async def test_snippets_of_a_stream_that_find_the_queue_full_are_told_when_to_try_again(
    tiny_repository,
):
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Recorder(model, [], execution_s=0.05),
        max_batch_size=1,
        max_queue_size=4,
    ) as daemon:
        outcome = await run_stream(daemon.endpoints.grpc, frames(0, 32))
        await assert_nothing_is_left(daemon)

    outcome.assert_accounts_for(0, 32)
    assert outcome.end is None
    assert len(outcome.rejected) >= 10
    for result in outcome.rejected:
        assert result.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < (result.retry_after_s or 0) < 1


async def test_a_call_that_finds_the_queue_full_is_told_when_to_try_again(tiny_repository):
    gate = threading.Event()
    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Gated(model, [], gate),
        max_batch_size=1,
        max_queue_size=8,
    ) as daemon:
        calls = [daemon.stub.Score(request(f"call {index}")) for index in range(8 + IN_HAND)]
        await wait_for_samples(daemon, {PENDING: 8})
        with pytest.raises(aio.AioRpcError) as refused:
            await daemon.stub.Score(request("one more"))
        gate.set()
        answered = await asyncio.gather(*calls)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_delay_s(refused.value) > 0
    assert [r.snippet_id for r in answered] == [f"call {index}" for index in range(10)]


def retry_delay_s(error):
    """The google.rpc.RetryInfo in the details of a status, as seconds."""
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status, retry = status_pb2.Status.FromString(details), error_details_pb2.RetryInfo()
    assert status.message == error.details()
    assert status.details[0].Unpack(retry)
    return retry.retry_delay.ToTimedelta().total_seconds()


async def test_live_streams_wait_a_few_batches_however_much_another_sends(tiny_repository):
    batches, waits, over = Batches(), list[int](), asyncio.Event()

    async def live(stream):
        async with AsyncClient(daemon.endpoints.grpc) as client:
            model = await client.model("tiny_rgb")
            for index in range(25):
                before = len(batches)
                await client.score(model, frame(stream, index), f"{stream}/{index}")
                waits.append(len(batches) - before)

    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Recorder(model, batches, execution_s=0.005),
        max_batch_size=4,
        max_in_flight_per_stream=400,
    ) as daemon:
        greedy = asyncio.create_task(
            run_stream(daemon.endpoints.grpc, endless(0, over), max_in_flight=400)
        )
        await wait_for_samples(daemon, {("tsnd_streams",): 1})
        await asyncio.gather(*(live(stream) for stream in (1, 2, 3)))
        over.set()
        outcome = await greedy

    outcome.assert_accounts_for(0, len(outcome.results))
    assert outcome.end is None
    # In one queue for all, each would wait for the 100 batches of the greedy one.
    assert median(waits) <= 6
    assert max(waits) <= 30


async def test_a_stop_in_the_middle_of_it_all_loses_nothing_that_was_accepted(tiny_repository):
    batches, failed = Batches(), list[str]()
    loop = asyncio.get_running_loop()

    def breaks(number):
        if number == 60:
            loop.call_soon_threadsafe(daemon.server.stop)
        if number % 7 == 0:
            failed.extend(batches[-1])
        return number % 7 == 0

    def flaky(model):
        return Breaking(model, batches, breaks=breaks, error=RuntimeError("odd"), execution_s=0.002)

    async with asyncio.timeout(END_S):
        async with running_daemon(tiny_repository, make_executor=flaky) as daemon:
            cut_off = asyncio.create_task(run_stream(daemon.endpoints.grpc, frames(99, 9_000)))
            loop.call_later(0.1, cut_off.cancel)
            outcomes = await run_streams(daemon)

    assert cut_off.cancelled()
    assert all(outcome.end is not None for outcome in outcomes)
    accepted = {name for ids in batches for name in ids if not name.startswith("99/")}
    scored = {result.snippet_id for outcome in outcomes for result in outcome.scored}
    rejected = {result.snippet_id for outcome in outcomes for result in outcome.rejected}
    assert rejected == accepted & set(failed)
    assert scored == accepted - set(failed)
