"""A real daemon, real gRPC, the real client."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.daemons import running_daemon
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import AsyncClient, Client, SnippetRejected, SnippetScores
from tsnd_daemon.executors.synthetic import SyntheticExecutor

SHAPE = (16, 21, 3)
CLIENTS, SNIPPETS_EACH = 8, 250


def frames(seed, count):
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield f"cam{seed}/{index}", rng.integers(0, 256, SHAPE, dtype=np.uint8)


async def scored(stream):
    """The results of a stream, all of which must be scores."""
    results = []
    async for result in stream:
        assert isinstance(result, SnippetScores), result
        results.append(result)
    return results


def slow_executor(model):
    return SyntheticExecutor(model, execution_s=0.002)


async def test_2000_snippets_of_8_concurrent_clients_come_back_complete_and_in_order(
    tiny_repository,
):
    async def one_client(seed, target):
        async with AsyncClient(target) as client:
            stream = client.score_stream(
                await client.model("tiny_rgb"), frames(seed, SNIPPETS_EACH)
            )
            return [result async for result in stream]

    async with running_daemon(tiny_repository, make_executor=slow_executor) as daemon:
        streams = await asyncio.gather(
            *(one_client(seed, daemon.endpoints.grpc) for seed in range(CLIENTS))
        )

    for seed, results in enumerate(streams):
        for result, (snippet_id, pixels) in zip(results, frames(seed, SNIPPETS_EACH), strict=True):
            assert isinstance(result, SnippetScores)
            assert result.snippet_id == snippet_id
            np.testing.assert_array_equal(result.scores, pixels.ravel()[:5])
    batches = [result.batch_size for results in streams for result in results]
    assert max(batches) == 8, "snippets of several streams share batches"


async def test_served_scores_equal_those_of_the_model_run_by_hand(tiny_repository):
    import onnxruntime  # noqa: PLC0415 - only this test compares with it

    path = tiny_repository / "tiny_rgb" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = dict(frames(0, 20))
    expected = session.run(["scores", "features"], {"snippets": np.stack(list(inputs.values()))})

    async with running_daemon(tiny_repository) as daemon, AsyncClient(daemon.endpoints.grpc) as c:
        results = await scored(c.score_stream(await c.model("tiny_rgb"), inputs.items()))

    np.testing.assert_allclose(np.stack([r.scores for r in results]), expected[0], atol=1e-5)
    np.testing.assert_allclose(np.stack([r.features for r in results]), expected[1], atol=1e-5)


async def test_a_bad_snippet_is_answered_in_its_place_and_the_stream_goes_on(tiny_repository):
    def request(index, **changes):
        fields = {"id": str(index), "modality": model_pb2.MODALITY_RGB, "shape": SHAPE}
        payload = {"raw": bytes(16 * 21 * 3)}
        return snippets_pb2.ScoreRequest(
            model=changes.pop("model", "tiny_rgb"),
            snippets=[snippets_pb2.Snippet(**{**fields, **payload, **changes})],
        )

    bad: dict[int, dict[str, Any]] = {
        2: {"raw": b"x"},
        5: {"model": "nobody"},
        7: {"modality": 2},
        9: {"shape": [1]},
    }
    async with running_daemon(tiny_repository) as daemon:
        call = daemon.stub.ScoreStream(request(i, **bad.get(i, {})) for i in range(12))
        replies = [result async for reply in call for result in reply.results]

    ids = [r.response.snippet_id or r.error.snippet_id for r in replies]
    assert ids == [str(i) for i in range(12)]
    assert {i: r.error.code for i, r in enumerate(replies) if r.HasField("error")} == {
        2: 3,
        5: 5,
        7: 3,
        9: 3,
    }


def test_the_sync_client_scores_a_stream_too(tiny_repository):
    async def scenario():
        async with running_daemon(tiny_repository) as daemon:
            return await asyncio.to_thread(use_sync_client, daemon.endpoints.grpc)

    def use_sync_client(target):
        with Client(target) as client:
            info = client.model("tiny_rgb")
            return info, list(client.score_stream(info, frames(1, 40)))

    info, results = asyncio.run(scenario())

    assert info.snippet_shape == SHAPE
    assert [r.snippet_id for r in results] == [name for name, _ in frames(1, 40)]


async def test_flow_and_rgb_models_are_served_side_by_side(tiny_repository):
    stack = np.full((10, 16, 21), 128, np.uint8)
    async with running_daemon(tiny_repository) as daemon, AsyncClient(daemon.endpoints.grpc) as c:
        flow = await c.score(await c.model("tiny_flow"), stack)
        rgb = await c.score(await c.model("tiny_rgb"), np.zeros(SHAPE, np.uint8))
        names = [model.name for model in await c.models()]

    assert names == ["tiny_flow", "tiny_rgb"]
    assert flow.scores.shape == rgb.scores.shape == (5,)


async def test_a_stream_that_is_cut_off_leaves_nothing_pending(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=slow_executor) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            stream = client.score_stream(await client.model("tiny_rgb"), frames(0, 10_000))
            async for _ in stream:
                break
            await stream.aclose()
            model = await client.model("tiny_rgb")
            rest = await scored(client.score_stream(model, frames(1, 30)))

    assert len(rest) == 30


async def test_a_full_queue_refuses_single_snippets_and_keeps_the_others(tiny_repository):
    def stuck(model):
        return SyntheticExecutor(model, execution_s=0.05)

    bounds = {"max_batch_size": 1, "max_queue_size": 2, "max_in_flight_per_stream": 100}
    async with running_daemon(tiny_repository, make_executor=stuck, **bounds) as daemon:
        async with AsyncClient(daemon.endpoints.grpc, max_in_flight=20) as client:
            results = [
                r async for r in client.score_stream(await client.model("tiny_rgb"), frames(0, 20))
            ]

    rejected = [r for r in results if isinstance(r, SnippetRejected)]
    assert 0 < len(rejected) < 20
    assert {r.code.name for r in rejected} == {"RESOURCE_EXHAUSTED"}


async def test_flow_control_bounds_what_a_greedy_stream_occupies(tiny_repository):
    bounds = {"max_in_flight_per_stream": 3, "max_batch_size": 8}
    async with running_daemon(tiny_repository, make_executor=slow_executor, **bounds) as daemon:
        async with AsyncClient(daemon.endpoints.grpc, max_in_flight=64) as client:
            model = await client.model("tiny_rgb")
            results = await scored(client.score_stream(model, frames(0, 60), group_size=1))

    assert max(r.batch_size for r in results) <= 3


@pytest.mark.parametrize("model", ["nobody", ""])
async def test_an_unknown_model_is_told_with_the_known_ones(tiny_repository, model):
    async with running_daemon(tiny_repository) as daemon, AsyncClient(daemon.endpoints.grpc) as c:
        with pytest.raises(Exception, match="tiny_flow, tiny_rgb"):
            await c.model(model)
