"""What breaks under load breaks alone: every snippet is answered once, or its stream ends."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from contextlib import contextmanager
from itertools import count

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.daemons import running_daemon
from tests.streams import (
    Recorder,
    assert_nothing_is_left,
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
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


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
        assert self._gate.wait(END_S)


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
    chance, batches, failed = random.Random(7), [], []

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
    batches = []

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
    batches, gate = [], threading.Event()

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

    assert "has hung for more than 0.3 s" in str(caught.value.__cause__.exceptions)
    assert sum(len(outcome.scored) for outcome in outcomes) == sum(map(len, batches[:19]))
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
    batches, gate = [], threading.Event()
    async with running_daemon(
        tiny_repository, make_executor=lambda m: Gated(m, batches, gate), max_batch_size=1
    ) as daemon:
        doomed = aio.insecure_channel(daemon.endpoints.grpc)
        stream = doomed.stream_stream("/tsnd.v1.SnippetService/ScoreStream")()
        for index in range(10):
            await stream.write(request(f"stream {index}").SerializeToString())
        score = doomed.unary_unary("/tsnd.v1.SnippetService/Score")
        calls = [score(request(f"call {i}").SerializeToString()) for i in range(10)]
        # One runs and one is handed over.
        await wait_for_samples(daemon, {("tsnd_pending_snippets", "tiny_rgb", "1"): 18})
        await doomed.close()
        await assert_nothing_is_left(daemon)
        gate.set()
        alive = await run_stream(daemon.endpoints.grpc, frames(0, 5))

    assert len(alive.scored) == 5
    assert sum(len(ids) for ids in batches) == 2 + 5, "what nobody waits for is not run"
    assert all(call.cancelled() or call.done() for call in calls)


async def test_who_does_not_read_is_not_read_while_others_go_on(tiny_repository):
    batches, sent = [], []

    async def write(call):
        for index in count():
            sent.append(f"slow {index}".rjust(200))
            await call.write(request(sent[-1]))

    async with running_daemon(
        tiny_repository,
        make_executor=lambda model: Recorder(model, batches),
        max_in_flight_per_stream=8,
    ) as daemon:
        async with aio.insecure_channel(daemon.endpoints.grpc) as channel:
            slow = channel.stream_stream(
                "/tsnd.v1.SnippetService/ScoreStream",
                request_serializer=lambda message: message.SerializeToString(),
            )()
            writing = asyncio.create_task(write(slow))
            outcomes = await run_streams(daemon)
            await until_it_stands_still(batches)
            run_of_slow = sum(name.strip().startswith("slow") for ids in batches for name in ids)
            writing.cancel()
        await assert_nothing_is_left(daemon)

    assert all(len(outcome.scored) == SNIPPETS_EACH for outcome in outcomes)
    assert run_of_slow < len(sent), "some lie unread before the daemon"
    print(run_of_slow, len(sent))


async def until_it_stands_still(batches):
    before = -1
    while before != len(batches):
        before = len(batches)
        await asyncio.sleep(0.1)
