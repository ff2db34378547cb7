"""What a hostile or broken client sends ends in a status, and the daemon keeps serving."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import aio

from tests.daemons import running_daemon
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.executors.synthetic import SyntheticExecutor

SCORE = "/tsnd.v1.SnippetService/Score"
STREAM = "/tsnd.v1.SnippetService/ScoreStream"
SIZE = 16 * 21 * 3


def good_request():
    return snippets_pb2.ScoreRequest(
        model="tiny_rgb",
        snippets=[
            snippets_pb2.Snippet(
                id="good", modality=model_pb2.MODALITY_RGB, shape=[16, 21, 3], raw=bytes(SIZE)
            )
        ],
    )


async def still_serves(daemon):
    response = await daemon.stub.Score(good_request())
    return response.snippet_id == "good"


async def status_of(call):
    try:
        await call
    except aio.AioRpcError as err:
        return err.code(), err.details() or ""
    return grpc.StatusCode.OK, ""


async def test_random_bytes_as_messages_end_in_a_status(tiny_repository):
    rng = np.random.default_rng(0)
    async with running_daemon(tiny_repository) as daemon:
        raw_score: Any = daemon.channel.unary_unary(SCORE)
        for length in rng.integers(0, 400, 200):
            code, _ = await status_of(raw_score(rng.bytes(int(length))))
            assert code is not grpc.StatusCode.OK
        assert await still_serves(daemon)


async def test_damaged_requests_end_in_a_status(tiny_repository):
    rng = np.random.default_rng(1)
    message = good_request().SerializeToString()
    async with running_daemon(tiny_repository) as daemon:
        raw_score: Any = daemon.channel.unary_unary(SCORE)
        for _ in range(200):
            damaged = bytearray(message[: int(rng.integers(1, 80))])
            damaged[int(rng.integers(0, len(damaged)))] ^= int(rng.integers(1, 256))
            code, _ = await status_of(raw_score(bytes(damaged)))
            assert code is not grpc.StatusCode.OK
        assert await still_serves(daemon)


async def test_random_bytes_on_a_stream_end_that_stream_alone(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        call: Any = daemon.channel.stream_stream(STREAM)()
        await call.write(b"\xff" * 50)
        with pytest.raises(aio.AioRpcError):
            async for _ in call:
                pass
        assert await still_serves(daemon)


async def test_a_message_beyond_the_bound_is_refused_without_reading_it(tiny_repository):
    request = good_request()
    request.snippets[0].raw = bytes(5 * 1024 * 1024)
    async with running_daemon(tiny_repository) as daemon:
        code, details = await status_of(daemon.stub.Score(request))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in details
        assert await still_serves(daemon)


async def test_an_unknown_model_is_answered_with_those_there_are(tiny_repository):
    request = good_request()
    request.model = ""
    async with running_daemon(tiny_repository) as daemon:
        code, details = await status_of(daemon.stub.Score(request))

    assert code is grpc.StatusCode.NOT_FOUND
    assert "there are tiny_flow, tiny_rgb" in details


@pytest.mark.parametrize("count", [0, 2])
async def test_a_single_call_takes_one_snippet(tiny_repository, count):
    request = good_request()
    (snippet,) = request.snippets
    del request.snippets[:]
    request.snippets.extend([snippet] * count)
    async with running_daemon(tiny_repository) as daemon:
        code, details = await status_of(daemon.stub.Score(request))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"Score takes one snippet, got {count}" in details


async def test_a_message_without_snippets_ends_its_stream_after_what_came_before(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        call = daemon.stub.ScoreStream(iter([good_request(), snippets_pb2.ScoreRequest()]))
        replies: list[snippets_pb2.SnippetResult] = []
        with pytest.raises(aio.AioRpcError, match="a ScoreRequest without snippets"):
            async for reply in call:
                replies.extend(reply.results)
        assert [r.response.snippet_id for r in replies] == ["good"]
        assert await still_serves(daemon)


async def test_a_group_that_is_too_large_is_refused_snippet_by_snippet(tiny_repository):
    request = good_request()
    request.snippets.extend([request.snippets[0]] * 4)
    async with running_daemon(tiny_repository, max_group_size=4) as daemon:
        call = daemon.stub.ScoreStream(iter([request, good_request()]))
        results = [result async for reply in call for result in reply.results]

    assert [r.error.code for r in results] == [3] * 5 + [0]
    assert "a message of 5 snippets: at most 4" in results[0].error.message


async def test_an_unknown_priority_is_told(tiny_repository):
    request = good_request()
    request.priority = 7
    async with running_daemon(tiny_repository) as daemon:
        code, details = await status_of(daemon.stub.Score(request))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "priority 7: expected 0 (real time), 1 (normal) or 2 (bulk)" in details


async def test_a_long_model_name_is_not_echoed_whole(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        request = good_request()
        request.model = "m" * 100_000
        code, details = await status_of(daemon.stub.Score(request))

    assert code is grpc.StatusCode.NOT_FOUND
    assert len(details) < 300


async def test_another_version_is_refused_with_the_one_there_is(tiny_repository):
    request = good_request()
    request.version = 7
    async with running_daemon(tiny_repository) as daemon:
        code, details = await status_of(daemon.stub.Score(request))

    assert code is grpc.StatusCode.NOT_FOUND
    assert "has version 1 here, not 7" in details


async def test_an_unknown_method_is_unimplemented(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        unknown: Any = daemon.channel.unary_unary("/tsnd.v1.SnippetService/Reboot")
        code, _ = await status_of(unknown(b""))

    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_hangs_up_in_the_middle_disturbs_nobody(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        for _ in range(10):
            async with aio.insecure_channel(daemon.endpoints.grpc) as channel:
                call: Any = channel.stream_stream(STREAM)()
                for _ in range(5):
                    await call.write(good_request().SerializeToString())
                call.cancel()
        assert await still_serves(daemon)


async def test_garbage_instead_of_http2_disturbs_nobody(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        host, port = daemon.endpoints.grpc.split(":")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01" * 20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(garbage)
            await writer.drain()
            writer.close()
        assert await still_serves(daemon)


async def test_an_expired_deadline_is_answered_as_such(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        code, _ = await status_of(daemon.stub.Score(good_request(), timeout=0.000001))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await still_serves(daemon)


async def test_an_executor_that_fails_tells_the_client_nothing_internal(tiny_repository):
    class Failing(SyntheticExecutor):
        def start(self, slot, snippets):
            if snippets[0].id == "good":
                raise RuntimeError("secret path /etc/shadow")
            super().start(slot, snippets)

    async with running_daemon(tiny_repository, make_executor=Failing) as daemon:
        code, details = await status_of(daemon.stub.Score(good_request()))

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert "snippet 'good'" in details


@pytest.mark.parametrize(
    "method",
    [
        *(SCORE, "/tsnd.v1.SnippetService/GetModel", "/tsnd.v1.SnippetService/ListModels"),
        *("/tsnd.v1.ModelControlService/LoadModel", "/grpc.health.v1.Health/Check"),
    ],
)
async def test_a_message_that_does_not_parse_is_an_invalid_argument(
    tiny_repository, method, caplog
):
    async with running_daemon(tiny_repository) as daemon:
        call: Any = daemon.channel.unary_unary(method)
        code, details = await status_of(call(b"\xff" * 9))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "does not parse" in details
    assert not caplog.records


async def test_so_it_is_where_streams_begin_or_end(tiny_repository, caplog):
    async with running_daemon(tiny_repository) as daemon:
        watch: Any = daemon.channel.unary_stream("/grpc.health.v1.Health/Watch")
        reflect: Any = daemon.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        for call in (watch(b"\xff" * 9), reflect(iter([b"\xff" * 9]))):
            with pytest.raises(aio.AioRpcError, match="does not parse"):
                await call.read()

    assert not caplog.records


async def test_what_health_does_not_offer_or_know_is_no_fault_of_ours(tiny_repository, caplog):
    async with running_daemon(tiny_repository) as daemon:
        codes = []
        for method, message in (("List", b""), ("Check", b"\x0a\x01x")):
            call: Any = daemon.channel.unary_unary(f"/grpc.health.v1.Health/{method}")
            codes.append((await status_of(call(message)))[0])

    assert codes == [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND]
    assert not caplog.records
