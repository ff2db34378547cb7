"""A daemon is killed in mid-stream and started again: the results do not show it."""

import asyncio
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from tests.processes import address_in, tsnd
from tsnd_client import (
    AsyncClient,
    Client,
    Modality,
    SnippetRejected,
    score_resiliently,
    score_resiliently_async,
)
from tsnd_client.videos.protocol import Spread
from tsnd_client.videos.snippet import ScoredVideo
from tsnd_client.videos.two_stream import Work, video_scorer

SNIPPETS = 300
KILL_AFTER = {100, 200}


def frames():
    random = np.random.default_rng(0)
    for number in range(SNIPPETS):
        yield f"cam/{number}", random.integers(0, 256, (16, 21, 3), np.uint8)


class Operator:
    """Kills the daemon when some results are there; starts it again when that is noticed."""

    def __init__(self, stack, repository):
        self.stack = stack
        self.arguments = ("--model-repository", str(repository), "--backend", "onnxruntime")
        self.process, line = stack.enter_context(tsnd(*self.arguments, "--compute-threads", "1"))
        self.target = address_in(line)
        self.kills = 0

    def see(self, results):
        if len(results) in KILL_AFTER:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def repair(self, reason=None, wait_s=0.0):
        if self.process.poll() is not None:
            port = self.target.rpartition(":")[2]
            self.process, line = self.stack.enter_context(
                tsnd(*self.arguments, "--compute-threads", "1", "--port", port)
            )
            assert address_in(line) == self.target


@pytest.fixture
def operator(tiny_repository):
    with ExitStack() as stack:
        yield Operator(stack, tiny_repository)


@pytest.fixture
def expected(operator):
    with Client(operator.target, shared_memory=False) as client:
        stream = client.score_stream(client.model("tiny_rgb"), frames())
        return list(stream)


def assert_equal(results, expected):
    assert not any(isinstance(result, SnippetRejected) for result in results)
    assert [result.snippet_id for result in results] == [result.snippet_id for result in expected]
    for result, other in zip(results, expected, strict=True):
        # In a batch of another size the engine adds in another order.
        np.testing.assert_allclose(result.scores, other.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_none_is_lost_none_is_doubled_and_order_is_kept(operator, expected, shared_memory):
    results = []
    with Client(operator.target, shared_memory=shared_memory) as client:
        for result in score_resiliently(
            client, client.model("tiny_rgb"), frames(), on_wait=operator.repair
        ):
            results.append(result)
            operator.see(results)

    assert operator.kills == len(KILL_AFTER)
    assert_equal(results, expected)


async def test_the_same_holds_on_asyncio(operator, expected):
    results = []
    async with AsyncClient(operator.target) as client:
        model = await client.model("tiny_rgb")
        async for result in score_resiliently_async(
            client, model, frames(), on_wait=operator.repair
        ):
            results.append(result)
            await asyncio.to_thread(operator.see, results)

    assert operator.kills == len(KILL_AFTER)
    assert_equal(results, expected)


def test_videos_are_scored_over_the_death_of_the_daemon(operator, tmp_path):
    for place in range(6):
        write_frames(tmp_path / str(place), seed=place)
    videos = [(folder.name, folder) for folder in sorted(tmp_path.iterdir())]

    def score(after_each):
        found = {}
        work = Work(readers=1, max_in_flight=4, snippets_ahead=4)
        with video_scorer("tiny_rgb", target=operator.target, work=work) as scorer:
            for outcome in scorer.score(videos, Spread()):
                assert isinstance(outcome, ScoredVideo), outcome
                found[outcome.name] = outcome.streams[Modality.RGB].outputs["scores"]
                after_each(len(found))
        return found

    def die_once(there):
        if there == 2:
            operator.process.kill()
            operator.process.wait()
            operator.repair()

    expected, found = score(lambda there: None), score(die_once)

    assert sorted(found) == sorted(expected) == [name for name, _ in videos]
    for name, scores in found.items():
        np.testing.assert_allclose(scores, expected[name], rtol=1e-4, atol=1e-5)


def write_frames(folder, seed):
    """Write a video as dense_flow does, small enough to be read at once."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(1, 31):
        pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), pixels)
