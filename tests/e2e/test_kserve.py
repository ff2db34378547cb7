"""The KServe service: order, fairness, deadlines, cancellation, drain, and what it reports."""

import asyncio
import gc
import json
import shutil

import grpc
import numpy as np
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.daemons import running_daemon
from tests.kserve import (
    SHAPE,
    Gate,
    in_region,
    infer_request,
    marks_of,
    register,
    shared_object,
    status_of,
    stub_of,
    tensor,
    values,
    wanted,
)
from tests.streams import assert_nothing_is_left, frame, marks, request, samples, wait_for_samples
from tsnd.kserve import inference_pb2 as pb
from tsnd_client import AsyncClient
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.scheduling.waiting_room import Waiting

PENDING = ("tsnd_pending_snippets", "tiny_rgb", "1")
SERVICE = "inference.GRPCInferenceService"
ONE_BY_ONE = {"max_batch_size": 1, "max_queue_delay_us": 0}


async def test_each_row_gets_its_own_scores_in_order(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        response = await stub_of(daemon).ModelInfer(infer_request("300", rows=16))

    assert (response.model_name, response.model_version, response.id) == ("tiny_rgb", "1", "300")
    assert marks_of(response) == [marks(0, 300 + row) for row in range(16)]


async def test_elements_one_by_one_are_the_same_as_raw_contents(tiny_repository):
    request = infer_request("200", rows=2)
    typed = pb.ModelInferRequest()
    typed.CopyFrom(request)
    typed.inputs[0].contents.uint_contents.extend(typed.raw_input_contents.pop())
    async with running_daemon(tiny_repository) as daemon:
        raw, elements = [await stub_of(daemon).ModelInfer(r) for r in (request, typed)]

    np.testing.assert_array_equal(values(raw), values(elements))


async def test_many_streams_at_once_are_each_answered_in_order_beside_native_ones(tiny_repository):
    async def one(daemon, number):
        requests = [infer_request(str(i), rows=1 + i % 3, stream=number) for i in range(60)]
        call = stub_of(daemon).ModelStreamInfer(iter(requests))
        return [reply.infer_response async for reply in call]

    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            info = await client.model("tiny_rgb")
            native = client.score_stream(info, ((str(i), frame(9, i)) for i in range(200)))
            streams = [asyncio.create_task(one(daemon, number)) for number in range(5)]
            results = [result.snippet_id async for result in native]
            answers = await asyncio.gather(*streams)
        await assert_nothing_is_left(daemon)

    assert results == [str(i) for i in range(200)]
    for number, responses in enumerate(answers):
        assert [r.id for r in responses] == [str(i) for i in range(60)]
        for index, response in enumerate(responses):
            rows = range(1 + index % 3)
            assert marks_of(response) == [marks(number, index + row) for row in rows]


async def start(stub, daemon, *requests):
    """Send requests so that each waits before the next one comes; returns their calls."""
    calls = []
    for number, message in enumerate(requests):
        calls.append(asyncio.ensure_future(stub.ModelInfer(message)))
        await wait_for_samples(daemon, {PENDING: number + 1})
    return calls


async def hold(daemon, gate):
    """Give the executor all it takes with ONE_BY_ONE, so that what comes next waits."""
    call = asyncio.ensure_future(stub_of(daemon).ModelInfer(infer_request("first", rows=2)))
    async with asyncio.timeout(10):
        while not gate.batches:  # noqa: ASYNC110 - another thread appends
            await asyncio.sleep(0.001)
    await wait_for_samples(daemon, {PENDING: 0})
    return call


async def test_priorities_are_tritons(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        stub = stub_of(daemon)
        first = await hold(daemon, gate)
        numbers = {"bulk": 3, "default": 0, "real time": 1, "normal": 2, "more bulk": 9}
        requests = [infer_request(name, priority=n) for name, n in numbers.items()]
        calls = await start(stub, daemon, *requests)
        gate.open()
        await asyncio.gather(first, *calls)

    assert gate.ran == ["real time", "default", "normal", "bulk", "more bulk"]


async def test_sequences_share_one_connection_fairly(tiny_repository):
    gate = Gate()
    options = {**ONE_BY_ONE, "stream_quantum": 1}
    async with running_daemon(tiny_repository, make_executor=gate.make, **options) as daemon:
        stub = stub_of(daemon)
        first = await hold(daemon, gate)
        many = [infer_request(f"a{i}", sequence_id=1) for i in range(6)]
        late = [infer_request("b0", sequence_id="b"), infer_request("b1", sequence_id="b")]
        calls = await start(stub, daemon, *many, *late)
        gate.open()
        await asyncio.gather(first, *calls)

    assert gate.ran.index("b1") < gate.ran.index("a3")
    assert [name for name in gate.ran if name.startswith("a")] == [f"a{i}" for i in range(6)]


async def test_a_timeout_in_microseconds_ends_what_has_waited_for_longer(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        first = await hold(daemon, gate)
        late = infer_request("late", rows=3, timeout=2_000)
        code, details = await status_of(stub_of(daemon).ModelInfer(late))
        statistics = await stub_of(daemon).ModelStatistics(
            pb.ModelStatisticsRequest(name="tiny_rgb")
        )
        gate.open()
        await first

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "its deadline passed" in details
    assert gate.ran == []
    assert statistics.model_stats[0].inference_stats.fail.count >= 1


async def test_a_call_whose_deadline_passes_leaves_nothing(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        first = await hold(daemon, gate)
        call = stub_of(daemon).ModelInfer(infer_request("late", rows=4), timeout=0.05)
        code, _ = await status_of(call)
        await wait_for_samples(daemon, {PENDING: 0})
        gate.open()
        await first

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert gate.ran == []


async def test_a_cancelled_call_withdraws_its_snippets(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        first = await hold(daemon, gate)
        call = stub_of(daemon).ModelInfer(infer_request("gone", rows=4))
        await wait_for_samples(daemon, {PENDING: 4})
        call.cancel()
        await wait_for_samples(daemon, {PENDING: 0})
        gate.open()
        await first

    assert gate.ran == []


async def test_a_cancelled_stream_withdraws_its_snippets(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        first = await hold(daemon, gate)
        call = stub_of(daemon).ModelStreamInfer(infer_request(f"gone {i}") for i in range(5))
        await wait_for_samples(daemon, {PENDING: 5, ("tsnd_streams",): 1})
        call.cancel()
        await wait_for_samples(daemon, {PENDING: 0, ("tsnd_streams",): 0})
        gate.open()
        await first

    assert gate.ran == []


async def test_a_stream_is_not_read_beyond_its_window(tiny_repository):
    gate = Gate()
    options = {**ONE_BY_ONE, "max_in_flight_per_stream": 4}
    async with running_daemon(tiny_repository, make_executor=gate.make, **options) as daemon:
        first = await hold(daemon, gate)
        call = stub_of(daemon).ModelStreamInfer(infer_request(str(i)) for i in range(50))
        await wait_for_samples(daemon, {PENDING: 4})
        for _ in range(20):
            await stub_of(daemon).ServerLive(pb.ServerLiveRequest())
            assert (await asyncio.to_thread(samples, daemon.endpoints.metrics))[PENDING] == 4
        gate.open()
        replies = [reply.infer_response.id async for reply in call]
        await first

    assert replies == [str(i) for i in range(50)]


async def test_one_row_that_fails_fails_its_request_and_no_other(tiny_repository):
    queue = {**ONE_BY_ONE, "max_queue_size": 4}
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **queue) as daemon:
        stub = stub_of(daemon)
        first = await hold(daemon, gate)
        (kept,) = await start(stub, daemon, infer_request("kept"))
        code, details = await status_of(stub.ModelInfer(infer_request("many", rows=9)))
        await wait_for_samples(daemon, {PENDING: 1})
        gate.open()
        await asyncio.gather(first, kept)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "has 4 snippets waiting" in details
    assert gate.ran == ["kept"]


async def test_stop_answers_what_was_accepted_and_refuses_new_requests(tiny_repository):
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **ONE_BY_ONE) as daemon:
        stub = stub_of(daemon)
        ready, model = pb.ServerReadyRequest(), pb.ModelReadyRequest(name="tiny_rgb")
        assert (await stub.ServerReady(ready)).ready
        first = await hold(daemon, gate)
        (unary,) = await start(stub, daemon, infer_request("unary", rows=1))
        call = stub.ModelStreamInfer()
        for index in range(3):
            await call.write(infer_request(str(index)))
        await wait_for_samples(daemon, {PENDING: 4})
        daemon.server.stop()
        async with asyncio.timeout(10):
            while (await stub.ServerReady(ready)).ready:
                pass
        is_ready = (await stub.ModelReady(model)).ready
        is_live = (await stub.ServerLive(pb.ServerLiveRequest())).live
        late = await status_of(stub.ModelInfer(infer_request("late")))
        gate.open()
        answered = [(await call.read()).infer_response.id for _ in range(3)]
        end = await status_of(wait_for_end(call))
        await asyncio.gather(first, unary)

    assert (is_ready, is_live) == (False, True)
    assert late[0] is grpc.StatusCode.UNAVAILABLE
    assert "send the request to another" in late[1]
    assert answered == ["0", "1", "2"]
    assert end[0] is grpc.StatusCode.UNAVAILABLE
    assert "is answered" in end[1]
    assert sorted(gate.ran) == ["0", "1", "2", "unary"]


async def wait_for_end(call):
    assert await call.read() is aio.EOF
    if await call.code() is not grpc.StatusCode.OK:
        raise aio.AioRpcError(
            await call.code(), aio.Metadata(), aio.Metadata(), await call.details()
        )


async def test_large_outputs_are_written_to_shared_memory_off_the_event_loop(
    tiny_repository, monkeypatch
):
    monkeypatch.setattr("tsnd_daemon.services.kserve.infer._LARGE_BYTES", 1)
    with shared_object(bytes(100)) as key:
        async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
            stub = stub_of(daemon)
            await register(stub, "out", key, 100)
            request = infer_request("7", rows=2)
            request.outputs.append(in_region(wanted("scores"), "out", 60, offset=20))
            response = await stub.ModelInfer(request)
            written = np.fromfile(f"/dev/shm/{key}", np.float32, offset=20, count=10)

    assert [list(row[:3]) for row in written.reshape(2, 5)] == [marks(0, 7), marks(0, 8)]
    assert list(response.raw_output_contents) == [b""]


async def test_what_is_served_is_counted_by_call_and_by_model(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        stub = stub_of(daemon)
        await stub.ModelInfer(infer_request(rows=3))
        await status_of(stub.ModelInfer(infer_request(model="nobody")))
        replies = stub.ModelStreamInfer(
            iter([infer_request(model="nobody"), infer_request("0", rows=2)])
        )
        errors = [reply.error_message async for reply in replies]
        await wait_for_samples(daemon, {("tsnd_requests_total", "OK", "ModelStreamInfer"): 1})
        seen = await asyncio.to_thread(samples, daemon.endpoints.metrics)
        (flow, rgb) = (await stub.ModelStatistics(pb.ModelStatisticsRequest())).model_stats

    assert [bool(error) for error in errors] == [True, False]
    assert seen["tsnd_requests_total", "OK", "ModelInfer"] == 1
    assert seen["tsnd_requests_total", "NOT_FOUND", "ModelInfer"] == 1
    assert seen["tsnd_rejected_snippets_total", "NOT_FOUND", "model_not_found"] == 2
    assert seen["tsnd_inferences_total", "tiny_rgb", "1"] == 5
    assert (flow.inference_count, rgb.inference_count, rgb.execution_count) == (0, 5, 2)
    assert rgb.inference_stats.success.count == 5
    assert [batch.batch_size for batch in rgb.batch_stats] == [2, 3]


async def test_failures_are_counted_by_model(tiny_repository):
    class Failing(SyntheticExecutor):
        def start(self, slot, snippets):
            if snippets[0].id == "bad":
                raise RuntimeError("secret")
            super().start(slot, snippets)

    async with running_daemon(tiny_repository, make_executor=Failing) as daemon:
        stub = stub_of(daemon)
        code, details = await status_of(stub.ModelInfer(infer_request("bad")))
        await stub.ModelInfer(infer_request("good"))
        (_, rgb) = (await stub.ModelStatistics(pb.ModelStatisticsRequest())).model_stats

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert (rgb.inference_stats.fail.count, rgb.inference_stats.success.count) == (1, 1)


async def test_what_expires_is_let_go_of_before_the_garbage_collector_comes(tiny_repository):
    def kept():
        return sum(isinstance(thing, Waiting) for thing in gc.get_objects())

    late, native = infer_request("late", timeout=1), request("late", timeout_us=1)
    options = {**ONE_BY_ONE, "max_queue_delay_us": 1_000_000}
    gate = Gate()
    async with running_daemon(tiny_repository, make_executor=gate.make, **options) as daemon:
        stub = stub_of(daemon)
        first = await hold(daemon, gate)
        gc.collect()
        before = kept()
        gc.disable()
        try:
            for _ in range(10):
                await status_of(stub.ModelInfer(late))
                await status_of(daemon.stub.Score(native))
            replies = [reply async for reply in stub.ModelStreamInfer(iter([late] * 10))]
            results = [reply async for reply in daemon.stub.ScoreStream(iter([native] * 10))]
            after = kept()
        finally:
            gc.enable()
        gate.open()
        await first

    assert all(reply.error_message for reply in replies)
    assert all(result.HasField("error") for reply in results for result in reply.results)
    assert after <= before + 2, "one each may be held by what has just answered it"


async def test_health_and_reflection_know_the_service(tiny_repository):
    def services(target):
        with grpc.insecure_channel(target) as channel:
            return ProtoReflectionDescriptorDatabase(channel).get_services()

    async with running_daemon(tiny_repository) as daemon:
        health = health_pb2_grpc.HealthStub(daemon.channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        names = await asyncio.to_thread(services, daemon.endpoints.grpc)

    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert SERVICE in names


async def test_a_pairs_name_is_a_question_back(tiny_repository):
    async with running_daemon(tiny_repository, pairs={"two": "tiny_rgb+tiny_flow"}) as daemon:
        stub = stub_of(daemon)
        answers = [
            await status_of(stub.ModelInfer(infer_request(model="two"))),
            await status_of(stub.ModelMetadata(pb.ModelMetadataRequest(name="two"))),
        ]

    for code, details in answers:
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "'two' is the pair of tiny_rgb and tiny_flow" in details
        assert "Name one of the two" in details


@pytest.fixture
def repository(tiny_repository, tmp_path):
    """A repository with version 2 of tiny_rgb, too, and a broken version 2 of tiny_flow."""
    root = shutil.copytree(tiny_repository, tmp_path / "models")
    for name in ("tiny_rgb", "tiny_flow"):
        folder = shutil.copytree(root / name / "1", root / name / "2")
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    (root / "tiny_flow" / "2").rename(root / ".broken")
    return root


async def test_versions_are_chosen_by_their_number(repository):
    async with running_daemon(repository, version_policy="all") as daemon:
        stub = stub_of(daemon)
        answered = []
        for version in ("", "1", "2"):
            request = infer_request()
            request.model_version = version
            answered.append((await stub.ModelInfer(request)).model_version)
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny_rgb"))
        config = await stub.ModelConfig(pb.ModelConfigRequest(name="tiny_rgb", version="1"))
        counted = await stub.ModelStatistics(pb.ModelStatisticsRequest(name="tiny_rgb"))

    assert answered == ["2", "1", "2"]
    assert list(metadata.versions) == ["1", "2"]
    assert config.config.version_policy.HasField("all")
    assert [(s.version, s.inference_count) for s in counted.model_stats] == [("1", 1), ("2", 2)]


async def test_the_index_says_why_a_version_is_not_served(repository):
    async with running_daemon(repository, model_control="explicit") as daemon:
        stub = stub_of(daemon)
        broken = (repository / ".broken").rename(repository / "tiny_flow" / "2")
        (broken / "model.onnx").write_bytes(b"!")
        code, _ = await status_of(
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny_flow"))
        )
        index = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
        ready = (await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert [(m.name, m.version, m.state, m.reason) for m in index] == [
        ("tiny_flow", "1", "READY", ""),
        ("tiny_flow", "2", "UNAVAILABLE", "it could not be loaded; the log has the reason"),
        ("tiny_rgb", "1", "UNAVAILABLE", "its version_policy is latest:1"),
        ("tiny_rgb", "2", "READY", ""),
    ]
    assert [(m.name, m.version) for m in ready] == [("tiny_flow", "1"), ("tiny_rgb", "2")]


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_calls_change_no_models_unless_that_is_allowed(tiny_repository, mode):
    async with running_daemon(tiny_repository, model_control=mode) as daemon:
        stub = stub_of(daemon)
        answers = [
            await status_of(
                stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny_rgb"))
            ),
            await status_of(
                stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="tiny_rgb"))
            ),
        ]
        index = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models

    for code, details in answers:
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "--model-control explicit" in details
    assert {m.state for m in index} == {"READY"}


async def test_a_repository_that_has_gone_is_told(repository):
    async with running_daemon(repository) as daemon:
        repository.rename(repository.parent / "elsewhere")
        code, details = await status_of(
            stub_of(daemon).RepositoryIndex(pb.RepositoryIndexRequest())
        )

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is not a folder" in details


def test_the_input_of_the_helpers_is_that_of_the_tiny_model():
    assert list(tensor().shape) == [1, *SHAPE]
