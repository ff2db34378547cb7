"""Where a snippet's time goes, as the daemon's own metrics tell it."""

import asyncio
import time
from functools import partial

import numpy as np
import pytest
import simplejpeg

from tests.daemons import running_daemon
from tests.kserve import infer_request, stub_of
from tests.streams import SHAPE, frames, request, run_stream, samples, wait_for_samples
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.stages import STAGES

ROUNDS = 4
EXECUTION_S = 0.1
WHOLE = "tsnd_end_to_end_seconds"
OF_THE_MODEL = ("tiny_rgb", "1")

slow = partial(SyntheticExecutor, execution_s=EXECUTION_S, max_batch_size=8)


def raw(name):
    return request(name).snippets[0]


def jpeg(name):
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    images = snippets_pb2.JpegImages(images=[simplejpeg.encode_jpeg(pixels)])
    return snippets_pb2.Snippet(id=name, modality=model_pb2.MODALITY_RGB, jpeg=images)


def stage_sums(seen):
    return {stage: seen["tsnd_stage_seconds_sum", "tiny_rgb", stage, "1"] for stage in STAGES}


async def wait_until_noted(daemon, count):
    """Results may be read by their client before the daemon notes that they are written."""
    await wait_for_samples(daemon, {(f"{WHOLE}_count", *OF_THE_MODEL): count})
    return await asyncio.to_thread(samples, daemon.endpoints.metrics)


async def answered(stream, snippets):
    """Send a message and read all of its results; returns how long that took, seconds."""
    begun_s = time.monotonic()
    await stream.write(snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=snippets))
    left = len(snippets)
    while left:
        reply = await stream.read()
        assert isinstance(reply, snippets_pb2.ScoreStreamResponse)
        assert all(result.HasField("response") for result in reply.results)
        left -= len(reply.results)
    return time.monotonic() - begun_s


@pytest.mark.parametrize(("snippet", "group"), [(raw, 1), (jpeg, 1), (raw, 8), (jpeg, 8)])
async def test_on_a_stream_stages_add_up_to_what_a_client_waits_for(
    tiny_repository, snippet, group
):
    unexplained, whole_s = list[float](), 0.0
    async with running_daemon(tiny_repository, make_executor=slow) as daemon:
        stream = daemon.stub.ScoreStream()
        for turn in range(1, ROUNDS + 1):
            snippets = [snippet(f"{turn}/{index}") for index in range(group)]
            waited_s = group * await answered(stream, snippets)
            seen = await wait_until_noted(daemon, turn * group)
            before_s, whole_s = whole_s, seen[f"{WHOLE}_sum", *OF_THE_MODEL]
            unexplained.append(abs(1 - (whole_s - before_s) / waited_s))

    stages = stage_sums(seen)
    assert sum(stages.values()) == pytest.approx(whole_s, rel=1e-6)
    # The least of some turns: a busy machine may stop the client, or the daemon before it notes
    # that it has written, in any of them.
    assert min(map(abs, unexplained)) < 0.05
    assert stages["compute"] >= ROUNDS * group * EXECUTION_S
    assert (stages["decode"] > 0.0) == (snippet is jpeg)
    assert all(stages[stage] > 0.0 for stage in STAGES if stage != "decode")


async def test_calls_of_one_message_are_in_it_too(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=slow) as daemon:
        await daemon.stub.Score(request("one"))
        await stub_of(daemon).ModelInfer(infer_request("two", rows=3))
        seen = await wait_until_noted(daemon, 4)

    stages = stage_sums(seen)
    assert stages["compute"] >= 4 * EXECUTION_S
    assert sum(stages.values()) == pytest.approx(seen[f"{WHOLE}_sum", *OF_THE_MODEL])


async def test_each_snippet_of_a_kserve_stream_counts(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        requests = [infer_request(str(number), rows=3) for number in range(4)]
        responses = [r async for r in stub_of(daemon).ModelStreamInfer(iter(requests))]
        seen = await wait_until_noted(daemon, 12)

    assert not any(response.error_message for response in responses)
    assert sum(stage_sums(seen).values()) == pytest.approx(seen[f"{WHOLE}_sum", *OF_THE_MODEL])


async def test_what_got_no_scores_is_in_no_stage(tiny_repository):
    damaged = simplejpeg.encode_jpeg(np.zeros(SHAPE, np.uint8))[:-40] + bytes(2)
    broken = jpeg("broken")
    broken.jpeg.images[0] = damaged
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        sent = snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=[raw("well"), broken])
        stream = daemon.stub.ScoreStream(iter([sent]))
        results = [result async for message in stream for result in message.results]
        seen = await wait_until_noted(daemon, 1)

    assert [result.WhichOneof("result") for result in results] == ["response", "error"]
    assert seen["tsnd_stage_seconds_count", "tiny_rgb", "compute", "1"] == 1


async def test_under_load_stages_still_add_up(tiny_repository):
    async with running_daemon(tiny_repository) as daemon:
        target = daemon.endpoints.grpc
        outcomes = await asyncio.gather(
            *(run_stream(target, frames(stream, 200)) for stream in range(4))
        )
        seen = await wait_until_noted(daemon, 800)

    assert [len(outcome.scored) for outcome in outcomes] == [200] * 4
    assert sum(stage_sums(seen).values()) == pytest.approx(seen[f"{WHOLE}_sum", *OF_THE_MODEL])
