"""Models that come, change and go while traffic flows; what is broken is refused."""

import asyncio
import json
import logging
import shutil
import threading

import grpc
import numpy as np
import pytest
from grpc import aio

from tests.daemons import running_daemon, settings_for
from tests.streams import Outcome, endless, frame, request, run_stream
from tsnd.v1 import control_pb2, control_pb2_grpc, model_pb2, snippets_pb2
from tsnd_client import AsyncClient, Modality, ModelNotFound
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.server import Server

SOON_S = 15.0
POLL = {"model_control": "poll", "poll_interval_s": 0.02}
EXPLICIT = {"model_control": "explicit"}
RGB, FLOW = model_pb2.MODALITY_RGB, model_pb2.MODALITY_FLOW


@pytest.fixture
def repository(tiny_repository, tmp_path):
    """A copy of the tiny repository that a test may change."""
    return shutil.copytree(tiny_repository, tmp_path / "models")


@pytest.fixture
def publish(tiny_repository, repository):
    """Lets a version of a model appear in the repository, whole and at once."""

    def make(version, name="tiny_rgb", **changes):
        staging = shutil.copytree(tiny_repository / name / "1", repository / ".staging")
        edit_manifest(staging, version=version, **changes)
        return staging.rename(repository / name / str(version))

    return make


def edit_manifest(folder, **changes):
    """Replace a manifest, as the builder does: never a half-written one."""
    path, new = folder / "manifest.json", folder.parent / ".manifest"
    new.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    new.replace(path)


def synthetic(model):
    return SyntheticExecutor(model, execution_s=0.001)


async def served(daemon):
    """Name and version of each model that the daemon lists."""
    listed = await daemon.stub.ListModels(snippets_pb2.ListModelsRequest())
    return {(model.name, model.version) for model in listed.models}


async def until(condition):
    """Wait until a condition holds, soon."""
    async with asyncio.timeout(SOON_S):
        while not await condition():  # noqa: ASYNC110 - it is the daemon's, which is asked
            await asyncio.sleep(0.005)


async def until_served(daemon, name, *versions):
    async def is_served():
        return {v for n, v in await served(daemon) if n == name} == set(versions)

    await until(is_served)


def executor_threads():
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("executor-"))


async def until_threads(*expected):
    async def are_there():
        return executor_threads() == sorted(expected)

    await until(are_there)


async def status_of(call):
    try:
        await call
    except aio.AioRpcError as err:
        return err.code(), err.details() or ""
    return grpc.StatusCode.OK, ""


def control(daemon):
    return control_pb2_grpc.ModelControlServiceStub(daemon.channel)


async def load(daemon, name):
    """The versions that are served of a model after LoadModel."""
    return (await control(daemon).LoadModel(control_pb2.LoadModelRequest(name=name))).versions


async def unload(daemon, name):
    await control(daemon).UnloadModel(control_pb2.UnloadModelRequest(name=name))


class Load:
    """Three streams that go on until they are told to end."""

    def __init__(self, daemon):
        self.outcomes = [Outcome() for _ in range(3)]
        self._over = asyncio.Event()
        self._tasks = [
            asyncio.create_task(
                run_stream(daemon.endpoints.grpc, endless(n, self._over), outcome=outcome)
            )
            for n, outcome in enumerate(self.outcomes)
        ]

    async def until_version(self, version):
        """Wait until each stream was answered by a version."""

        async def has_come():
            return all(o.scored and o.scored[-1].version == version for o in self.outcomes)

        await until(has_come)

    async def end(self):
        """End the streams, none of which has noticed anything."""
        self._over.set()
        await asyncio.gather(*self._tasks)
        for stream, outcome in enumerate(self.outcomes):
            outcome.assert_accounts_for(stream, len(outcome.results))
            assert outcome.end is None
            assert outcome.rejected == []


async def test_versions_that_come_and_go_under_load_fail_no_request_and_never_go_back(
    repository, publish
):
    async with running_daemon(repository, make_executor=synthetic, **POLL) as daemon:
        traffic = Load(daemon)
        await traffic.until_version(1)
        for version in range(2, 12):
            publish(version)
            shutil.rmtree(repository / "tiny_rgb" / str(version - 1))
            await traffic.until_version(version)
        await traffic.end()
        await until_served(daemon, "tiny_rgb", 11)
        await until_threads("executor-tiny_flow-0", "executor-tiny_rgb-0")

    for outcome in traffic.outcomes:
        versions = [scores.version for scores in outcome.scored]
        assert versions == sorted(versions)
        assert set(versions) == set(range(1, 12))
    assert executor_threads() == []


async def test_a_manifest_that_changes_in_place_is_followed_under_load(repository):
    async def serves(network):
        info = await daemon.stub.GetModel(snippets_pb2.GetModelRequest(name="tiny_rgb"))
        return info.manifest.network == network

    async with running_daemon(repository, make_executor=synthetic, **POLL) as daemon:
        traffic = Load(daemon)
        await traffic.until_version(1)
        for number in range(10):
            edit_manifest(repository / "tiny_rgb" / "1", network=f"net {number}")
            await until(lambda number=number: serves(f"net {number}"))
        await traffic.end()
        await until_threads("executor-tiny_flow-0", "executor-tiny_rgb-0")


def damage_file(folder):
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"!")


def damage_manifest(folder):
    (folder / "manifest.json").write_bytes(b"{" + b"\xff" * 50_000)


def rename_fields(folder):
    edit_manifest(folder, **{"x" * 50_000: 1})


def leave_whole(folder):
    pass


def fails_warm_up(model):
    executor = synthetic(model)
    if model.manifest.version == 2:
        executor.finish = lambda slot: 1 / 0
    return executor


def fails_to_be_made(model):
    if model.manifest.version == 2:
        raise MemoryError("no memory is left on the device")
    return synthetic(model)


BROKEN = pytest.mark.parametrize(
    ("damage", "make"),
    [
        (damage_file, synthetic),
        (damage_manifest, synthetic),
        (rename_fields, synthetic),
        (leave_whole, fails_warm_up),
        (leave_whole, fails_to_be_made),
    ],
)


@BROKEN
async def test_a_broken_version_is_refused_and_logged_once_while_the_old_one_goes_on(
    repository, publish, caplog, damage, make
):
    caplog.set_level(logging.ERROR, "tsnd_daemon.serving.pool")
    async with running_daemon(repository, make_executor=make, **POLL) as daemon:
        traffic = Load(daemon)
        staging = publish(2).rename(repository / ".broken")
        damage(staging)
        staging.rename(repository / "tiny_rgb" / "2")
        # Each of these takes a look at the repository.
        for version in (3, 4, 5):
            publish(version, "tiny_flow")
            await until_served(daemon, "tiny_flow", version)
        await traffic.until_version(1)
        (repository / "tiny_rgb" / "2").rename(repository / ".gone")
        publish(3)
        await traffic.until_version(3)
        await traffic.end()

    assert caplog.text.count("What was served of tiny_rgb goes on.") == 1
    await until_threads()


@BROKEN
async def test_loading_a_broken_version_fails_with_the_reason_and_the_old_one_goes_on(
    repository, publish, damage, make
):
    async with running_daemon(repository, make_executor=make, **EXPLICIT) as daemon:
        damage(publish(2))
        code, details = await status_of(load(daemon, "tiny_rgb"))
        assert (await daemon.stub.Score(request("s"))).version == 1

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert details.startswith("What was served of it goes on: ")
    assert len(details) > 50


async def test_a_package_that_is_copied_file_by_file_is_served_once_it_is_whole(
    repository, publish, caplog
):
    async with running_daemon(repository, make_executor=synthetic, **POLL) as daemon:
        hidden = publish(2).rename(repository / ".copying")
        whole = repository / "tiny_rgb" / "2"
        whole.mkdir()
        for version, file in enumerate(["manifest.json", "labels.txt", "model.onnx"], start=2):
            shutil.copy(hidden / file, whole / file)
            publish(version, "tiny_flow")
            await until_served(daemon, "tiny_flow", version)
        await until_served(daemon, "tiny_rgb", 2)

    assert "The package is incomplete" in caplog.text


async def test_models_are_loaded_updated_and_unloaded_on_call(repository, publish):
    async with running_daemon(repository, make_executor=synthetic, **EXPLICIT) as daemon:
        publish(2)
        assert await served(daemon) == {("tiny_flow", 1), ("tiny_rgb", 1)}
        assert await load(daemon, "tiny_rgb") == [2]
        await unload(daemon, "tiny_rgb")
        assert await served(daemon) == {("tiny_flow", 1)}
        code, details = await status_of(daemon.stub.Score(request("gone")))
        assert await load(daemon, "tiny_rgb") == [2]
        assert (await daemon.stub.Score(request("back"))).version == 2

    assert code is grpc.StatusCode.NOT_FOUND
    assert "there is no model 'tiny_rgb' here; there are tiny_flow." in details


async def test_unloading_a_model_under_load_answers_what_it_has_accepted(repository):
    async with running_daemon(repository, make_executor=synthetic, **EXPLICIT) as daemon:
        traffic = Load(daemon)
        await traffic.until_version(1)
        await unload(daemon, "tiny_rgb")
        await until_threads("executor-tiny_flow-0")
        traffic._over.set()
        await asyncio.gather(*traffic._tasks)

    for stream, outcome in enumerate(traffic.outcomes):
        outcome.assert_accounts_for(stream, len(outcome.results))
        assert {result.code for result in outcome.rejected} == {grpc.StatusCode.NOT_FOUND}


NO_MODELS = (
    *("nobody", "", ".", "..", "../x", "/etc", ".hidden", "tiny_rgb/1", "tiny_rgb/../tiny_rgb"),
    *("../models/tiny_rgb", "a\nb", "\x1b[2J", "x" * 100_000),
)


async def test_only_folders_of_the_repository_are_loaded_whatever_the_name(repository, caplog):
    shutil.copytree(repository / "tiny_rgb", repository.parent / "x")
    shutil.copytree(repository / "tiny_rgb", repository / ".hidden")
    async with running_daemon(repository, make_executor=synthetic, **EXPLICIT) as daemon:
        for name in NO_MODELS:
            for call in (load(daemon, name), unload(daemon, name)):
                code, reason = await status_of(call)
                assert code is grpc.StatusCode.NOT_FOUND, name
                assert len(reason) < 300
        assert await served(daemon) == {("tiny_flow", 1), ("tiny_rgb", 1)}

    assert "\x1b" not in caplog.text


async def test_a_repository_that_has_gone_fails_a_load_and_writes_no_control_characters(
    repository, caplog
):
    async with running_daemon(repository, make_executor=synthetic, **EXPLICIT) as daemon:
        repository.rename(repository.parent / "elsewhere")
        code, reason = await status_of(load(daemon, "\x1b[2J\n" + "x" * 100_000))
        still_served = await served(daemon)

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is not a folder" in reason
    assert still_served == {("tiny_flow", 1), ("tiny_rgb", 1)}
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 10_000


@pytest.mark.parametrize("mode", [{}, POLL])
async def test_calls_change_no_models_in_other_modes(repository, mode):
    async with running_daemon(repository, make_executor=synthetic, **mode) as daemon:
        for call in (load(daemon, "tiny_rgb"), unload(daemon, "tiny_rgb")):
            code, reason = await status_of(call)
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert "--model-control explicit" in reason
        assert len(await served(daemon)) == 2


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest:1", {4}),
        ("latest:2", {3, 4}),
        ("all", {1, 2, 3, 4}),
        ("specific:1,3,9", {1, 3}),
    ],
)
async def test_the_version_policy_says_which_versions_are_served(
    repository, publish, policy, expected
):
    for version in (2, 3, 4):
        publish(version)
    options = {"models": {"tiny_rgb": {"version_policy": policy}}}
    async with running_daemon(repository, make_executor=synthetic, **options) as daemon:
        found = {version for name, version in await served(daemon) if name == "tiny_rgb"}
        newest = await daemon.stub.Score(request("any"))
        pinned = await daemon.stub.Score(request("pinned", version=min(expected)))

    assert found == expected
    assert newest.version == max(expected)
    assert pinned.version == min(expected)


async def test_a_pinned_version_answers_until_it_goes_and_is_missed_then(repository, publish):
    options = {**POLL, "version_policy": "latest:2"}
    async with running_daemon(repository, make_executor=synthetic, **options) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            pinned = await client.model("tiny_rgb", version=1)
            publish(2)
            await until_served(daemon, "tiny_rgb", 1, 2)
            before = await client.score(pinned, frame(0, 0))
            publish(3)
            await until_served(daemon, "tiny_rgb", 2, 3)
            with pytest.raises(ModelNotFound, match="has version 2, 3 here, not 1"):
                await client.score(pinned, frame(0, 0))

    assert before.version == 1


def flow_request(model):
    snippet = snippets_pb2.Snippet(modality=FLOW, shape=[10, 16, 21], raw=bytes(10 * 16 * 21))
    return snippets_pb2.ScoreRequest(model=model, snippets=[snippet])


PAIR = {"pairs": {"two": "tiny_rgb+tiny_flow"}, **EXPLICIT}


async def test_a_pair_takes_the_model_of_each_snippets_modality(repository):
    async with running_daemon(repository, make_executor=synthetic, **PAIR) as daemon:
        requests = [request("rgb", model="two"), flow_request("two")]
        call = daemon.stub.ScoreStream(iter(requests * 2))
        results = [result async for reply in call for result in reply.results]
        async with AsyncClient(daemon.endpoints.grpc) as client:
            (pair,) = await client.pairs()
            flow = await client.model("two", Modality.FLOW)

    assert [r.response.model for r in results] == ["tiny_rgb", "tiny_flow"] * 2
    assert (pair.name, pair.rgb_model, pair.flow_model) == ("two", "tiny_rgb", "tiny_flow")
    assert (flow.name, flow.modality) == ("tiny_flow", Modality.FLOW)


async def test_a_pair_without_a_modality_is_a_question_back(repository):
    async with running_daemon(repository, make_executor=synthetic, **PAIR) as daemon:
        asked = await status_of(daemon.stub.GetModel(snippets_pb2.GetModelRequest(name="two")))

    assert asked[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert "Send rgb (1) or flow (2)" in asked[1]


async def test_half_a_pair_goes_on_without_the_other(repository):
    async with running_daemon(repository, make_executor=synthetic, **PAIR) as daemon:
        await unload(daemon, "tiny_flow")
        rgb = await daemon.stub.Score(request("rgb", model="two"))
        code, reason = await status_of(daemon.stub.Score(flow_request("two")))
        listed = await daemon.stub.ListModels(snippets_pb2.ListModelsRequest())
        await load(daemon, "tiny_flow")
        back = await daemon.stub.Score(flow_request("two"))

    assert (rgb.model, back.model) == ("tiny_rgb", "tiny_flow")
    assert code is grpc.StatusCode.NOT_FOUND
    assert "'two' is the pair of tiny_rgb and tiny_flow" in reason
    assert "flow" in reason
    assert list(listed.pairs) == []


async def test_two_saturated_models_share_a_device_by_their_weights(repository):
    ran = {"tiny_rgb": 0, "tiny_flow": 0}
    enough, over = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Counting(SyntheticExecutor):
        def __init__(self, model):
            super().__init__(model, execution_s=0.004)
            self._name = model.manifest.name

        def finish(self, slot):
            if not over.is_set():
                ran[self._name] += 1
            if sum(ran.values()) == 200:
                loop.call_soon_threadsafe(enough.set)
            return super().finish(slot)

    options = {
        "models": {"tiny_rgb": {"weight": 3.0}, "tiny_flow": {"weight": 1.0}},
        "max_in_flight_per_stream": 64,
        "max_batch_size": 4,
    }
    async with running_daemon(repository, make_executor=Counting, **options) as daemon:
        target = daemon.endpoints.grpc
        streams = [
            asyncio.create_task(run_stream(target, endless(0, over), max_in_flight=64)),
            asyncio.create_task(
                run_stream(target, endless_flow(over), model="tiny_flow", max_in_flight=64)
            ),
        ]
        await enough.wait()
        over.set()
        await asyncio.gather(*streams)

    # Three to one on a machine of its own; one to one without weights.
    assert 1.5 < ran["tiny_rgb"] / ran["tiny_flow"] < 6.0


def endless_flow(over):
    """Stacks of flow until an event."""
    for snippet_id, pixels in endless(1, over):
        yield snippet_id, np.resize(np.asarray(pixels), (10, 16, 21))


class Slow:
    """Makes executors of version 2 only once it may."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, model):
        if model.manifest.version == 2:
            self.begun.set()
            assert self.may_end.wait(SOON_S)
        return synthetic(model)


@pytest.mark.parametrize("mode", [POLL, EXPLICIT])
async def test_a_daemon_that_is_loading_a_model_stops_at_once_when_asked(
    repository, publish, monkeypatch, mode
):
    monkeypatch.setattr("tsnd_daemon.executors.base._CLOSE_S", 0.1)
    slow = Slow()
    async with asyncio.timeout(SOON_S / 2):
        async with running_daemon(repository, make_executor=slow, **mode) as daemon:
            publish(2)
            if mode is EXPLICIT:
                loading = asyncio.create_task(status_of(load(daemon, "tiny_rgb")))
            assert await asyncio.to_thread(slow.begun.wait, SOON_S)
            assert (await daemon.stub.Score(request("meanwhile"))).version == 1
            daemon.server.stop()
            if mode is EXPLICIT:
                code, _ = await loading
                assert code is grpc.StatusCode.UNAVAILABLE
    slow.may_end.set()
    await until_threads()


async def test_a_daemon_that_has_not_started_stops_at_once_when_asked(repository, publish):
    publish(2)
    slow = Slow()
    server = Server(settings_for(repository), make_executors=lambda model, _: [lambda: slow(model)])
    running = asyncio.create_task(server.run(lambda endpoints: pytest.fail("it is not ready")))
    assert await asyncio.to_thread(slow.begun.wait, SOON_S)
    server.stop()
    async with asyncio.timeout(SOON_S / 2):
        await running
    slow.may_end.set()
    await until_threads()


async def test_a_load_that_nobody_waits_for_any_more_is_undone(repository, publish):
    slow = Slow()
    async with running_daemon(repository, make_executor=slow, **EXPLICIT) as daemon:
        publish(2)
        loading = asyncio.create_task(status_of(load(daemon, "tiny_rgb")))
        assert await asyncio.to_thread(slow.begun.wait, SOON_S)
        loading.cancel()
        # What comes after it on the same connection is answered when the daemon has seen it.
        assert (await daemon.stub.Score(request("after"))).version == 1
        slow.may_end.set()
        await until_threads("executor-tiny_flow-0", "executor-tiny_rgb-0")
        assert (await daemon.stub.Score(request("s"))).version == 1
        assert await load(daemon, "tiny_rgb") == [2]


async def test_an_executor_that_fails_to_close_disturbs_nobody(repository, publish, caplog):
    def fails_to_close(model):
        executor = synthetic(model)
        if model.manifest.version == 1:
            executor.close = lambda: 1 / 0
        return executor

    async with running_daemon(repository, make_executor=fails_to_close, **POLL) as daemon:
        traffic = Load(daemon)
        await traffic.until_version(1)
        publish(2)
        await traffic.until_version(2)
        await until_threads("executor-tiny_flow-0", "executor-tiny_rgb-0")
        await traffic.end()

    assert "did not close" in caplog.text


@pytest.mark.parametrize("mode", [{}, POLL, EXPLICIT])
async def test_a_repository_without_models_is_refused_with_the_remedy(tmp_path, mode):
    with pytest.raises(PackageError, match=r"holds no model.*tsn-build build --repository"):
        async with running_daemon(tmp_path, make_executor=synthetic, **mode):
            pass
