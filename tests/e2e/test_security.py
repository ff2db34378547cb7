"""Who gets in and who does not, over real connections; what changes while they are open."""

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority
from tests.daemons import running_daemon, settings_for
from tests.kserve import SIZE, Gate, in_region, infer_request, shared_object, stub_of
from tests.streams import assert_nothing_is_left, frames, request, wait_for_samples
from tsnd.kserve import inference_pb2, inference_pb2_grpc
from tsnd.v1 import control_pb2, control_pb2_grpc, snippets_pb2, snippets_pb2_grpc
from tsnd_client import AsyncClient, CallFailed, Client, DaemonUnavailable, SnippetRejected
from tsnd_client.connection import Connection
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.security.tokens import digest_of

logger = logging.getLogger(__name__)

FRAME = np.zeros((16, 21, 3), np.uint8)
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PENDING = ("tsnd_pending_snippets", "tiny_rgb", "1")
IN_HAND = 2
"""Batches that do not wait any more: one runs, one is handed over."""
CONTROL = "/tsnd.v1.ModelControlService/"
NATIVE = "/tsnd.v1.SnippetService/"
KSERVE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def write_tokens(path, **tokens):
    """Write a file of tokens, the secret of each of which is its name; values are more lines."""
    tables = (f'[tokens.{n}]\nsha256 = "{digest_of(n)}"\n{more}\n' for n, more in tokens.items())
    path.write_text("".join(tables))
    return path


def bearer(name):
    return (("authorization", f"Bearer {name}"),)


async def status_of(call):
    try:
        await call
    except aio.AioRpcError as err:
        return err.code()
    return grpc.StatusCode.OK


async def code_of(channel, method, token=None, body=b"", *, streams=False):
    """The status of a call by a channel that knows nothing of us."""
    metadata = bearer(token) if token else None
    if not streams:
        return await status_of(channel.unary_unary(method)(body, metadata=metadata, timeout=10))
    call = channel.stream_stream(method)(iter([body]), metadata=metadata, timeout=10)
    return await status_of(anext(aiter(call), None))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


@asynccontextmanager
async def guarded(repository, tokens, **settings):
    settings = {"make_executor": SyntheticExecutor, **settings}
    async with running_daemon(repository, tokens=tokens, **settings) as daemon:
        yield daemon


def tls_settings(authority):
    certificate, key = authority.issue()
    return {"tls_certificate": certificate, "tls_key": key}


OPEN = [HEALTH + "Check", KSERVE + "ServerLive", KSERVE + "ServerReady"]
KSERVE_METHODS = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
UNARY = [
    *(NATIVE + name for name in ("Score", "ListModels", "GetModel")),
    *(CONTROL + name for name in ("LoadModel", "UnloadModel")),
    *(KSERVE + m.name for m in KSERVE_METHODS if not m.client_streaming),
]
STREAMS = [NATIVE + "ScoreStream", KSERVE + "ModelStreamInfer", REFLECTION]


async def test_without_a_token_nothing_is_answered_but_health(tiny_repository, tmp_path):
    tokens = write_tokens(tmp_path / "tokens", camera="")
    async with guarded(tiny_repository, tokens) as daemon:
        for token in (None, "wrong"):
            for method in set(UNARY) - set(OPEN):
                # A message that does not parse is not even looked at.
                code = await code_of(daemon.channel, method, token, b"\xff")
                assert code is UNAUTHENTICATED, method
            for method in STREAMS:
                code = await code_of(daemon.channel, method, token, b"\xff", streams=True)
                assert code is UNAUTHENTICATED, method
        watch = health_pb2_grpc.HealthStub(daemon.channel).Watch(health_pb2.HealthCheckRequest())
        assert await status_of(anext(aiter(watch), None)) is UNAUTHENTICATED
        for method in OPEN:
            assert await code_of(daemon.channel, method) is grpc.StatusCode.OK, method


async def test_both_clients_are_let_in_with_a_token_on_every_call(tiny_repository, tmp_path):
    tokens = write_tokens(tmp_path / "tokens", camera="")

    def score(target):
        with Client(target, token="camera") as client:
            model = client.model("tiny_rgb")
            results = list(client.score_stream(model, frames(0, 20)))
            return len(client.models()), client.health().serving, results

    async with guarded(tiny_repository, tokens) as daemon:
        listed, serving, results = await asyncio.to_thread(score, daemon.endpoints.grpc)
        async with AsyncClient(daemon.endpoints.grpc, token="camera") as client:
            model = await client.model("tiny_rgb")
            assert not model.shared_memory, "it has no right to that"
            scores = await client.score(model, FRAME)
            stream = [r async for r in client.score_stream(model, frames(1, 20))]
        async with AsyncClient(daemon.endpoints.grpc) as client:
            with pytest.raises(CallFailed, match=r"none came.*Set TSND_TOKEN") as caught:
                await client.models()

    assert (listed, serving) == (2, True)
    assert [r.snippet_id for r in results] == [f"0/{index}" for index in range(20)]
    assert [r.snippet_id for r in stream] == [f"1/{index}" for index in range(20)]
    assert scores.scores.shape == (5,)
    assert caught.value.code is UNAUTHENTICATED


async def test_a_token_that_has_expired_is_refused(tiny_repository, tmp_path):
    tokens = write_tokens(
        tmp_path / "tokens",
        old="expires = 2020-01-01T00:00:00Z",
        good="expires = 2999-01-01T00:00:00+01:00",
    )
    async with guarded(tiny_repository, tokens) as daemon:
        assert await code_of(daemon.channel, NATIVE + "ListModels", "old") is UNAUTHENTICATED
        assert await code_of(daemon.channel, NATIVE + "ListModels", "good") is grpc.StatusCode.OK


async def test_models_are_changed_only_with_the_right_and_only_when_enabled(
    tiny_repository, tmp_path
):
    tokens = write_tokens(tmp_path / "tokens", camera="", boss='rights = ["admin"]')
    load = control_pb2.LoadModelRequest(name="tiny_rgb")
    kserve_load = inference_pb2.RepositoryModelLoadRequest(model_name="tiny_rgb")

    async def codes(daemon, token):
        control = control_pb2_grpc.ModelControlServiceStub(daemon.channel)
        kserve = stub_of(daemon)
        return [
            await status_of(control.LoadModel(load, metadata=bearer(token))),
            await status_of(kserve.RepositoryModelLoad(kserve_load, metadata=bearer(token))),
        ]

    async with guarded(tiny_repository, tokens, model_control="explicit") as daemon:
        assert await codes(daemon, "camera") == [DENIED] * 2
        assert await codes(daemon, "boss") == [grpc.StatusCode.OK] * 2
    async with guarded(tiny_repository, tokens) as daemon:
        assert await codes(daemon, "boss") == [grpc.StatusCode.FAILED_PRECONDITION] * 2


async def test_a_token_for_some_models_sees_and_uses_no_others(tiny_repository, tmp_path):
    tokens = write_tokens(tmp_path / "tokens", camera='models = ["tiny_rgb", "pair"]')
    pairs = {"pair": "tiny_rgb+tiny_flow", "hidden": "tiny_rgb+tiny_flow"}
    async with guarded(tiny_repository, tokens, pairs=pairs) as daemon:
        me = bearer("camera")
        listed = await daemon.stub.ListModels(snippets_pb2.ListModelsRequest(), metadata=me)
        index = await stub_of(daemon).RepositoryIndex(
            inference_pb2.RepositoryIndexRequest(), metadata=me
        )
        statistics = await stub_of(daemon).ModelStatistics(
            inference_pb2.ModelStatisticsRequest(), metadata=me
        )
        await daemon.stub.Score(request("mine"), metadata=me)
        for name in ("tiny_flow", "hidden", "nobody"):
            denied = [
                daemon.stub.Score(request("other", model=name), metadata=me),
                daemon.stub.GetModel(snippets_pb2.GetModelRequest(name=name), metadata=me),
                stub_of(daemon).ModelInfer(infer_request(model=name), metadata=me),
                stub_of(daemon).ModelReady(inference_pb2.ModelReadyRequest(name=name), metadata=me),
            ]
            assert [await status_of(call) for call in denied] == [DENIED] * 4, name
        async with AsyncClient(daemon.endpoints.grpc, token="camera") as client:
            model = await client.model("tiny_rgb")
            mixed = daemon.stub.ScoreStream(
                iter([request("1"), request("2", model="tiny_flow"), request("3")]), metadata=me
            )
            results = [r async for message in mixed for r in message.results]

    assert model.name == "tiny_rgb"
    assert [m.name for m in listed.models] == ["tiny_rgb"]
    assert [p.name for p in listed.pairs] == ["pair"]
    assert [m.name for m in index.models] == ["tiny_rgb"]
    assert [m.name for m in statistics.model_stats] == ["tiny_rgb"]
    assert [r.WhichOneof("result") for r in results] == ["response", "error", "response"]
    assert results[1].error.code == DENIED.value[0]


async def test_shared_memory_is_for_those_with_the_right_to_it(tiny_repository, tmp_path):
    tokens = write_tokens(tmp_path / "tokens", far="", near='rights = ["shared_memory"]')
    pb = inference_pb2
    async with guarded(tiny_repository, tokens) as daemon:
        kserve = stub_of(daemon)
        async with AsyncClient(daemon.endpoints.grpc, token="near") as client:
            model = await client.model("tiny_rgb")
            assert model.shared_memory
            shared = [r async for r in client.score_stream(model, frames(0, 20))]
        with shared_object(bytes(SIZE)) as key:
            attach = snippets_pb2.ScoreRequest(
                attach=snippets_pb2.SharedMemory(key=key, byte_size=SIZE)
            )
            refusals = {}
            for name in ("far", "near"):
                call = daemon.stub.ScoreStream(iter([attach]), metadata=bearer(name))
                refusals[name] = [message.attachment.refusal async for message in call]
            register = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=SIZE)
            await kserve.SystemSharedMemoryRegister(register, metadata=bearer("near"))
            infer = infer_request()
            del infer.raw_input_contents[:]
            in_region(infer.inputs[0], "r", SIZE)
            reply_in_region = infer_request()
            in_region(reply_in_region.outputs.add(name="scores"), "r", SIZE)
            calls = [
                (kserve.SystemSharedMemoryRegister, register),
                (kserve.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest()),
                (kserve.ModelInfer, infer),
                (kserve.ModelInfer, reply_in_region),
                (kserve.SystemSharedMemoryUnregister, pb.SystemSharedMemoryUnregisterRequest()),
                (
                    kserve.SystemSharedMemoryUnregister,
                    pb.SystemSharedMemoryUnregisterRequest(name="r"),
                ),
            ]
            far = [
                await status_of(call(message, metadata=bearer("far"))) for call, message in calls
            ]
            near = await status_of(kserve.ModelInfer(infer, metadata=bearer("near")))

    assert len(shared) == 20
    assert "has no right to this" in refusals["far"][0]
    assert refusals["near"] == [""]
    assert far == [DENIED] * len(calls)
    assert near is grpc.StatusCode.OK


async def test_a_token_has_no_more_streams_open_than_it_may(tiny_repository, tmp_path):
    tokens = write_tokens(tmp_path / "tokens", camera="max_streams = 2", other="")
    async with guarded(tiny_repository, tokens) as daemon:

        async def open_stream(stub, message, token):
            call = stub(metadata=bearer(token))
            await call.write(message)
            await call.read()
            return call

        native, kserve = daemon.stub.ScoreStream, stub_of(daemon).ModelStreamInfer
        first = await open_stream(native, request("1"), "camera")
        second = await open_stream(kserve, infer_request("2"), "camera")
        for stub, message in ((native, request("3")), (kserve, infer_request("3"))):
            refused = stub(iter([message]), metadata=bearer("camera"))
            assert await status_of(anext(aiter(refused), None)) is EXHAUSTED
        other = await open_stream(native, request("1"), "other")
        for call in (first, second, other):
            await call.done_writing()
            assert await call.read() is aio.EOF
        again = await open_stream(native, request("4"), "camera")
        again.cancel()
        await assert_nothing_is_left(daemon)


async def test_all_clients_together_have_no_more_streams_open_than_may_be(tiny_repository):
    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, max_streams=3
    ) as daemon:
        calls = [daemon.stub.ScoreStream() for _ in range(3)]
        for call in calls:
            await call.write(request("a"))
            await call.read()
        refused = stub_of(daemon).ModelStreamInfer(iter([infer_request()]))
        assert await status_of(anext(aiter(refused), None)) is EXHAUSTED
        calls[0].cancel()
        await assert_code_soon(daemon, grpc.StatusCode.OK)
        for call in calls:
            call.cancel()
        await assert_nothing_is_left(daemon)


async def assert_code_soon(daemon, expected):
    """A stream ends so as soon as the daemon has seen that another has gone."""
    async with asyncio.timeout(10):
        while True:
            call = daemon.stub.ScoreStream(iter([request("b")]))
            if await status_of(anext(aiter(call), None)) is expected:
                return


async def test_a_token_has_no_more_snippets_unanswered_than_it_may_on_both_doors(
    tiny_repository, tmp_path
):
    tokens = write_tokens(tmp_path / "tokens", camera="max_in_flight = 6", other="")
    gate = Gate()
    async with guarded(
        tiny_repository,
        tokens,
        make_executor=gate.make,
        max_batch_size=1,
        max_in_flight_per_stream=64,
    ) as daemon:
        me = bearer("camera")
        messages = [request(f"{index}") for index in range(10)]
        stream = daemon.stub.ScoreStream(iter(messages), metadata=me)
        await wait_for_samples(daemon, {PENDING: 6 - IN_HAND})
        refused = stub_of(daemon).ModelInfer(infer_request("9", rows=3), metadata=me)
        assert await status_of(refused) is EXHAUSTED
        other = daemon.stub.Score(request("other"), metadata=bearer("other"))
        gate.open()
        results = [r async for message in stream for r in message.results]
        await other
        after = await stub_of(daemon).ModelInfer(infer_request("0", rows=6), metadata=me)

    kinds = [r.WhichOneof("result") for r in results]
    assert kinds == ["response"] * 6 + ["error"] * 4
    assert {r.error.code for r in results[6:]} == {EXHAUSTED.value[0]}
    assert after.id == "0"


async def test_reloading_withdraws_tokens_and_lets_new_ones_in_on_open_connections(
    tiny_repository, tmp_path
):
    tokens = write_tokens(tmp_path / "tokens", camera="", gone="")
    settings = settings_for(tiny_repository, tokens=tokens)
    async with guarded(tiny_repository, tokens) as daemon:
        streams = {}
        for name in ("camera", "gone"):
            streams[name] = daemon.stub.ScoreStream(metadata=bearer(name))
            await streams[name].write(request("before"))
            assert (await streams[name].read()).results[0].HasField("response")

        write_tokens(tokens, camera="", new="")
        daemon.server.reload(settings)

        outcomes = {}
        for name, stream in streams.items():
            await stream.write(request("after"))
            await stream.done_writing()
            (outcomes[name],) = (await stream.read()).results
        codes = {
            n: await code_of(daemon.channel, NATIVE + "ListModels", n) for n in ("gone", "new")
        }

        tokens.write_text("[tokens.broken")
        with pytest.raises(SettingsError, match="not valid TOML"):
            daemon.server.reload(settings)
        still = await code_of(daemon.channel, NATIVE + "ListModels", "new")

    assert outcomes["camera"].HasField("response")
    assert outcomes["gone"].error.code == UNAUTHENTICATED.value[0]
    assert codes == {"gone": UNAUTHENTICATED, "new": grpc.StatusCode.OK}
    assert still is grpc.StatusCode.OK


async def test_over_tls_both_clients_are_served_and_others_are_not(tiny_repository, authority):
    stranger = Authority(authority.folder.parent / "stranger")

    def score(target):
        with Client(target, tls=authority.tls()) as client:
            return list(client.score_stream(client.model("tiny_rgb"), frames(0, 10)))

    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, **tls_settings(authority)
    ) as daemon:
        target = daemon.endpoints.grpc
        results = await asyncio.to_thread(score, target)
        async with AsyncClient(target, tls=authority.tls()) as client:
            scores = await client.score(await client.model("tiny_rgb"), FRAME)
        async with AsyncClient(target, tls=stranger.tls(), deadline_s=5) as client:
            with pytest.raises(DaemonUnavailable, match=r"certificate|Socket closed|connect"):
                await client.models()
        async with AsyncClient(target, deadline_s=5) as client:
            with pytest.raises(DaemonUnavailable):
                await client.models()

    assert len(results) == 10
    assert scores.scores.shape == (5,)


async def test_with_mutual_tls_only_clients_with_a_certificate_get_in(tiny_repository, authority):
    stranger = Authority(authority.folder.parent / "stranger")
    wrong = stranger.tls("camera")
    wrong = type(wrong)(authority.certificate, wrong.certificate, wrong.key)
    settings = {**tls_settings(authority), "tls_client_ca": authority.certificate}
    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, **settings
    ) as daemon:
        target = daemon.endpoints.grpc
        async with AsyncClient(target, tls=authority.tls("camera")) as client:
            listed = await client.models()
        for tls in (authority.tls(), wrong):
            async with AsyncClient(target, tls=tls, deadline_s=5) as client:
                with pytest.raises(DaemonUnavailable):
                    await client.models()

    assert len(listed) == 2


async def fingerprint(target, authority):
    """The certificate that new connections get."""
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cafile=authority.certificate)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return found


async def test_certificates_are_renewed_under_load_without_a_stream_that_ends(
    tiny_repository, authority
):
    settings = tls_settings(authority)
    seen, over = [], asyncio.Event()

    async def stream(number, count):
        async with AsyncClient(target, tls=authority.tls(), max_in_flight=8) as client:
            model = await client.model("tiny_rgb")
            results = [r async for r in client.score_stream(model, frames(number, count))]
            assert [r.snippet_id for r in results] == [f"{number}/{i}" for i in range(count)]
            assert not [r for r in results if isinstance(r, SnippetRejected)]
            return len(results)

    async def newcomers():
        """One connection after another, while certificates change."""
        count = 0
        while not over.is_set():
            count += await stream(9, 5)
        return count

    def slow(model):
        return SyntheticExecutor(model, execution_s=0.005)

    async with running_daemon(
        tiny_repository, make_executor=slow, max_batch_size=2, **settings
    ) as daemon:
        target = daemon.endpoints.grpc
        coming = asyncio.create_task(newcomers())
        streams = [asyncio.create_task(stream(number, 300)) for number in range(4)]
        while not all(task.done() for task in streams):
            seen.append(await fingerprint(target, authority))
            authority.issue()
            daemon.server.reload(settings_for(tiny_repository, **settings))
            await asyncio.wait(streams, timeout=0.05)
        seen.append(await fingerprint(target, authority))
        over.set()
        answered = sum([await task for task in streams])
        newcomers_got = await coming
        await assert_nothing_is_left(daemon)

    logger.info("%d certificates, %d + %d snippets", len(seen), answered, newcomers_got)
    assert newcomers_got >= 5
    assert answered == 4 * 300
    assert len(set(seen)) == len(seen) >= 5, "each newcomer saw the newest"


async def test_a_broken_certificate_leaves_the_old_one_in_use(tiny_repository, authority):
    settings = tls_settings(authority)
    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, **settings
    ) as daemon:
        before = await fingerprint(daemon.endpoints.grpc, authority)
        settings["tls_key"].write_text("nonsense")
        with pytest.raises(SettingsError, match="are no certificate and its key"):
            daemon.server.reload(settings_for(tiny_repository, **settings))
        assert await fingerprint(daemon.endpoints.grpc, authority) == before
        with pytest.raises(SettingsError, match="start it anew"):
            daemon.server.reload(settings_for(tiny_repository))


async def test_metadata_beyond_the_bound_is_refused_and_the_connection_goes_on(tiny_repository):
    async with running_daemon(
        tiny_repository, make_executor=SyntheticExecutor, max_metadata_bytes=4096
    ) as daemon:
        await daemon.stub.Score(request("a"), metadata=(("x-note", "a" * 3000),))
        with pytest.raises(aio.AioRpcError) as refused:
            await daemon.stub.Score(request("b"), metadata=(("x-note", "a" * 5000),))
        await daemon.stub.Score(request("c"))

    assert refused.value.code() is EXHAUSTED


async def test_a_token_goes_with_credentials_of_grpc_too(tiny_repository, tmp_path, authority):
    """Clients of other makers send tokens over TLS in gRPC's own way."""
    tokens = write_tokens(tmp_path / "tokens", camera="")
    credentials = grpc.composite_channel_credentials(
        authority.channel_credentials(), grpc.access_token_call_credentials("camera")
    )
    async with guarded(tiny_repository, tokens, **tls_settings(authority)) as daemon:
        async with aio.secure_channel(daemon.endpoints.grpc, credentials) as channel:
            reply = await snippets_pb2_grpc.SnippetServiceStub(channel).Score(request("a"))
            kserve = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            response = await kserve.ModelInfer(infer_request("7"))

    assert (reply.snippet_id, response.id) == ("a", "7")


async def test_secrets_are_in_no_log(tiny_repository, tmp_path, caplog):
    caplog.set_level("DEBUG")
    tokens = write_tokens(tmp_path / "tokens", s3cret_camera='rights = ["admin"]')
    name = "s3cret_camera"
    tokens.write_text(tokens.read_text().replace(f"[tokens.{name}]", "[tokens.camera]"))
    async with guarded(tiny_repository, tokens, model_control="explicit") as daemon:
        assert await code_of(daemon.channel, NATIVE + "ListModels", name) is grpc.StatusCode.OK
        control = control_pb2_grpc.ModelControlServiceStub(daemon.channel)
        load = control_pb2.LoadModelRequest(name="tiny_rgb")
        await control.LoadModel(load, metadata=bearer(name))
        wrong = await code_of(daemon.channel, NATIVE + "ListModels", "s3cret_wrong")

    assert wrong is UNAUTHENTICATED
    assert "token 'camera' loads model 'tiny_rgb'" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_stub_without_a_token_is_left_as_it_is():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stub = snippets_pb2_grpc.SnippetServiceStub(channel)
        before = dict(vars(stub))
        Connection("127.0.0.1:1").authorize(stub)

        assert vars(stub) == before
