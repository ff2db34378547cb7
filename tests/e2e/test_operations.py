"""Health, metrics, start and stop, as an operator sees them."""

import asyncio
import signal
import socket
import threading
from contextlib import suppress

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.daemons import running_daemon
from tests.kserve import Gate
from tests.processes import tsnd
from tests.streams import has_pending, request, samples, wait_for_samples
from tsnd_client import AsyncClient, Client, ClientError, DaemonUnavailable
from tsnd_daemon.errors import ExecutorLost, PackageError, SettingsError
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.settings import ModelOptions

FRAME = np.zeros((16, 21, 3), np.uint8)
START_S, STOP_S = 60, 30
TINY_RGB = ("tiny_rgb", "1")


async def test_health_is_serving_as_a_whole_and_by_service(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        stub = health_pb2_grpc.HealthStub(daemon.channel)
        for service in ("", "tsnd.v1.SnippetService"):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_metrics_tell_what_was_served(tiny_repository):
    async with (
        running_daemon(tiny_repository, backend="onnxruntime") as daemon,
        AsyncClient(daemon.endpoints.grpc) as c,
    ):
        stream = c.score_stream(await c.model("tiny_rgb"), ((str(i), FRAME) for i in range(30)))
        assert len([r async for r in stream]) == 30
        await c.score(await c.model("tiny_flow"), np.zeros((10, 16, 21), np.uint8))
        seen = await asyncio.to_thread(samples, daemon.endpoints.metrics)

    assert seen["tsnd_inferences_total", "tiny_rgb", "1"] == 30
    assert seen["tsnd_batch_size_sum", "tiny_rgb", "1"] == 30
    assert seen["tsnd_snippet_duration_seconds_count", "tiny_rgb", "1"] == 30
    assert seen["tsnd_pending_snippets", "tiny_rgb", "1"] == 0
    assert seen["tsnd_crops_total", "tiny_rgb", "1"] == 300
    assert seen["tsnd_padding_snippets_total", "tiny_rgb", "1"] == 0
    assert seen["tsnd_executors", "tiny_rgb", "1"] == 1
    assert seen["tsnd_model_info", "onnxruntime", "tiny_rgb", "fp32", "1"] == 1
    assert seen["tsnd_model_loads_total", "loaded"] == 2
    assert seen["process_resident_memory_bytes",] > 0
    assert seen["tsnd_requests_total", "OK", "Score"] == 1
    assert seen["tsnd_streams",] == 0


async def test_rejections_are_counted_by_code(tiny_repository):
    async with running_daemon(tiny_repository) as daemon, AsyncClient(daemon.endpoints.grpc) as c:
        with pytest.raises(ClientError):
            await c.model("nobody")
        seen = await asyncio.to_thread(samples, daemon.endpoints.metrics)

    assert seen["tsnd_requests_total", "NOT_FOUND", "GetModel"] == 1


async def test_metrics_tell_what_waits_and_what_runs(tiny_repository):
    held = Gate()
    bounds = {"max_batch_size": 2, "max_queue_delay_us": 0}
    async with running_daemon(tiny_repository, make_executor=held.make, **bounds) as daemon:
        stream = daemon.stub.ScoreStream(iter([grouped(10)]))
        # Two with the executor, two that follow at once, six that wait.
        waiting = {
            ("tsnd_pending_snippets", *TINY_RGB): 6,
            ("tsnd_in_flight_snippets", *TINY_RGB): 4,
        }
        await wait_for_samples(daemon, waiting)
        held.open()
        results = [result async for message in stream for result in message.results]
        gone = {("tsnd_pending_snippets", *TINY_RGB): 0, ("tsnd_in_flight_snippets", *TINY_RGB): 0}
        await wait_for_samples(daemon, gone)

    assert len(results) == 10


def grouped(count):
    """A message of some snippets."""
    message = request("0")
    message.snippets.extend(request(str(index)).snippets[0] for index in range(1, count))
    return message


async def test_a_snippet_whose_deadline_passes_is_a_miss_and_a_rejection(tiny_repository):
    async with running_daemon(tiny_repository, max_queue_delay_us=1_000_000) as daemon:
        stream = daemon.stub.ScoreStream(iter([request("late", timeout_us=1)]))
        assert [r.HasField("error") async for m in stream for r in m.results] == [True]
        rejected = ("tsnd_rejected_snippets_total", "DEADLINE_EXCEEDED", "deadline_expired")
        await wait_for_samples(daemon, {("tsnd_deadline_misses_total", *TINY_RGB): 1, rejected: 1})


async def test_stop_answers_what_was_accepted_and_refuses_new_work(tiny_repository):
    def slow(model):
        return SyntheticExecutor(model, execution_s=0.1)

    async with running_daemon(tiny_repository, make_executor=slow) as daemon:
        async with AsyncClient(daemon.endpoints.grpc, max_in_flight=8) as client:
            results, info = [], await client.model("tiny_rgb")
            with pytest.raises(ClientError, match=r"stopping|being sent"):
                async for result in client.score_stream(
                    info, ((str(i), FRAME) for i in range(1_000))
                ):
                    results.append(result)
                    if len(results) == 1:
                        daemon.server.stop()
            with pytest.raises(ClientError):
                await client.score(info, FRAME)

    assert 8 <= len(results) < 100
    assert [r.snippet_id for r in results] == [str(i) for i in range(len(results))]


async def test_a_daemon_that_has_been_idle_answers_what_it_accepted_too(tiny_repository):
    def slow(model):
        return SyntheticExecutor(model, execution_s=1.0)

    answered = []
    async with running_daemon(tiny_repository, make_executor=slow, max_batch_size=2) as daemon:
        async with AsyncClient(daemon.endpoints.grpc, max_in_flight=4) as client:
            info = await client.model("tiny_rgb")
            await client.score(info, FRAME)
            with suppress(ClientError):
                async for result in client.score_stream(info, ((str(i), FRAME) for i in range(4))):
                    answered.append(result.snippet_id)
                    daemon.server.stop()

    assert answered == ["0", "1", "2", "3"]


async def test_a_stream_opened_while_draining_is_refused_at_once(tiny_repository):
    # Alone, the first snippet waits a second for company, so there is something to drain.
    async with running_daemon(tiny_repository, max_queue_delay_us=1_000_000) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            info = await client.model("tiny_rgb")
            held = asyncio.create_task(client.score(info, FRAME, snippet_id="held"))
            assert await asyncio.to_thread(has_pending, daemon.endpoints.metrics)
            daemon.server.stop()
            async with asyncio.timeout(0.7):
                # The status comes while the client sends, and then gRPC keeps it to itself.
                with pytest.raises(DaemonUnavailable, match=r"stopping|was being sent"):
                    async for _ in client.score_stream(info, [("late", FRAME)]):
                        pass
            assert (await held).snippet_id == "held"


async def test_a_lost_executor_ends_the_daemon_aloud(tiny_repository):
    class Lost(SyntheticExecutor):
        def start(self, slot, snippets):
            if snippets[0].id == "last":
                raise ExecutorLost("sticky error")
            super().start(slot, snippets)

    with pytest.raises(ExecutorLost):
        async with (
            running_daemon(tiny_repository, make_executor=Lost) as daemon,
            AsyncClient(daemon.endpoints.grpc) as client,
        ):
            info = await client.model("tiny_rgb")
            with pytest.raises(ClientError):
                await client.score(info, FRAME, snippet_id="last")


async def test_a_failed_warm_up_stops_the_start(tiny_repository):
    class Broken(SyntheticExecutor):
        def finish(self, slot):
            raise MemoryError("out of memory")

    with pytest.raises(PackageError, match="failed to run a batch of 1 while warming up"):
        async with running_daemon(tiny_repository, make_executor=Broken):
            pass


async def test_a_warm_up_that_hangs_stops_the_start(tiny_repository, monkeypatch):
    monkeypatch.setattr("tsnd_daemon.executors.base._CLOSE_S", 0.05)

    def hanging(model):
        return SyntheticExecutor(model, execution_s=3.0)

    with pytest.raises(PackageError, match=r"has hung for 0\.1 s over a batch of 1 while warming"):
        async with running_daemon(tiny_repository, make_executor=hanging, execution_timeout_s=0.1):
            pass


async def test_after_the_grace_what_runs_is_cut_off(tiny_repository, monkeypatch):
    monkeypatch.setattr("tsnd_daemon.executors.base._CLOSE_S", 0.05)
    runs = threading.Event()

    class Slow(SyntheticExecutor):
        def start(self, slot, snippets):
            self.holds = snippets[0].id == "held"
            super().start(slot, snippets)

        def finish(self, slot):
            if self.holds:
                runs.set()
                self._pause.wait(15.0)
            return super().finish(slot)

    async with asyncio.timeout(10):
        async with running_daemon(tiny_repository, make_executor=Slow, drain_grace_s=0.2) as daemon:
            async with AsyncClient(daemon.endpoints.grpc) as client:
                info = await client.model("tiny_rgb")
                held = asyncio.create_task(client.score(info, FRAME, "held"))
                assert await asyncio.to_thread(runs.wait, 5)
                daemon.server.stop()
                with pytest.raises(ClientError):
                    await held


async def test_settings_for_a_model_that_there_is_not_are_refused(tiny_repository):
    with pytest.raises(SettingsError, match="there are settings for typo, and no such model"):
        async with running_daemon(tiny_repository, models={"typo": ModelOptions(weight=2.0)}):
            pass


async def test_messages_beyond_what_grpc_takes_are_refused_at_the_start(
    tiny_repository, monkeypatch
):
    monkeypatch.setattr("tsnd_daemon.server._MAX_MESSAGE_BYTES", 4 * 1024 * 1024 - 1)

    with pytest.raises(SettingsError, match="makes messages of up to 4194304 bytes"):
        async with running_daemon(tiny_repository):
            pass


def test_the_program_announces_itself_serves_and_ends_cleanly_on_sigterm(tiny_repository):
    with tsnd("--model-repository", str(tiny_repository)) as (process, line):
        facts = dict(word.split("=", 1) for word in line.split()[2:])
        with Client(facts["grpc"]) as client:
            scores = client.score(client.model("tiny_rgb"), FRAME)
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=STOP_S)

    assert line.startswith("tsnd ready ")
    assert facts["models"] == "tiny_flow,tiny_rgb"
    assert scores.scores.shape == (5,)
    assert process.returncode == 0, log
    assert rest == ""
    assert "Traceback" not in log


@pytest.mark.parametrize("setting", ["--port", "--metrics-port"])
def test_a_taken_port_is_told_with_the_remedy_and_status_2(tiny_repository, setting):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--model-repository", str(tiny_repository), setting, port]
        with tsnd(*arguments) as (process, line):
            _, log = process.communicate(timeout=START_S)

    assert line == ""
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in log
    assert f"with {setting} (0 picks a free one)" in log
    assert "Traceback" not in log
