"""Pixels that come as JPEG or through shared memory, and results that hold what was asked for."""

import asyncio
import mmap
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from grpc import aio

from tests.daemons import running_daemon
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import (
    AsyncClient,
    Client,
    Jpeg,
    Modality,
    Reply,
    SnippetRejected,
    SnippetScores,
)
from tsnd_client.shared_memory import SnippetMemory
from tsnd_daemon.executors.synthetic import SyntheticExecutor

RNG = np.random.default_rng(11)
FRAMES = RNG.integers(0, 256, (40, 16, 21, 3), np.uint8)
STACKS = RNG.integers(0, 256, (3, 10, 16, 21), np.uint8)


def compressed(pixels, quality=100):
    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def read_as_opencv(image, how=cv2.IMREAD_COLOR):
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), how)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def owner(pixels):
    """The object in whose memory an array lies."""
    while isinstance(pixels, np.ndarray | memoryview):
        pixels = pixels.base if isinstance(pixels, np.ndarray) else pixels.obj
    return pixels


def shared_names():
    return {entry.name for entry in Path("/dev/shm").iterdir()}


def mappings():
    """The names of memory that clients share with a daemon in this process."""
    return set(re.findall(r"/memfd:(tsnd-\w+)", Path("/proc/self/maps").read_text()))


async def test_scores_from_jpeg_are_those_of_what_the_file_decodes_to(tiny_repository):
    image = compressed(FRAMES[0], quality=60)
    planes = [compressed(plane) for plane in STACKS[0]]
    mosaic = compressed(np.vstack([np.hstack(STACKS[0][0::2]), np.hstack(STACKS[0][1::2])]))
    grey = read_as_opencv(mosaic, cv2.IMREAD_GRAYSCALE).reshape(2, 16, 5, 21)
    async with (
        running_daemon(tiny_repository) as daemon,
        AsyncClient(daemon.endpoints.grpc) as client,
    ):
        rgb, flow = await client.model("tiny_rgb"), await client.model("tiny_flow")
        pairs = [
            (rgb, Jpeg(image), read_as_opencv(image)),
            (
                flow,
                Jpeg(*planes),
                np.stack([read_as_opencv(p, cv2.IMREAD_GRAYSCALE) for p in planes]),
            ),
            (flow, Jpeg(mosaic), grey.transpose(2, 0, 1, 3).reshape(10, 16, 21)),
        ]
        for model, jpeg, pixels in pairs:
            from_jpeg = await client.score(model, jpeg)
            raw = await client.score(model, pixels)
            np.testing.assert_array_equal(from_jpeg.scores, raw.scores)
            np.testing.assert_array_equal(from_jpeg.features, raw.features)


async def test_a_stream_may_mix_jpeg_and_arrays_and_a_bad_file_fails_alone(tiny_repository):
    image = compressed(FRAMES[0])
    snippets = [
        ("jpeg", Jpeg(image)),
        ("broken", Jpeg(image[:-200])),
        ("array", FRAMES[1]),
        ("png", Jpeg(b"\x89PNG")),
        ("last", Jpeg(compressed(FRAMES[2]))),
    ]
    async with (
        running_daemon(tiny_repository) as daemon,
        AsyncClient(daemon.endpoints.grpc) as client,
    ):
        model = await client.model("tiny_rgb")
        results = [r async for r in client.score_stream(model, snippets, group_size=5)]
        alone = await client.score(model, FRAMES[1])

    assert [r.snippet_id for r in results] == ["jpeg", "broken", "array", "png", "last"]
    assert [type(r) for r in results] == [
        SnippetScores, SnippetRejected, SnippetScores, SnippetRejected, SnippetScores,
    ]  # fmt: skip
    broken = results[1]
    assert isinstance(broken, SnippetRejected)
    assert broken.code is grpc.StatusCode.INVALID_ARGUMENT
    array = results[2]
    assert isinstance(array, SnippetScores)
    np.testing.assert_array_equal(array.scores, alone.scores)


async def test_results_hold_what_was_asked_for(tiny_repository):
    async with (
        running_daemon(tiny_repository) as daemon,
        AsyncClient(daemon.endpoints.grpc) as client,
    ):
        model = await client.model("tiny_rgb")
        everything = await client.score(model, FRAMES[0])
        features = await client.score(model, FRAMES[0], reply=Reply(outputs=("features",)))
        best = await client.score(model, FRAMES[0], reply=Reply(top_k=3))
        half = await client.score(
            model, FRAMES[0], reply=Reply(half=True, top_k=1, outputs=("scores",))
        )
        streamed = [
            r
            async for r in client.score_stream(
                model, [("s", FRAMES[0])], reply=Reply(top_k=3, outputs=("scores",))
            )
        ]

    assert set(features.outputs) == {"features"}
    assert features.scores.shape == (0,)
    np.testing.assert_array_equal(features.features, everything.features)
    order = np.argsort(-everything.scores, kind="stable")[:3]
    odds = np.exp(everything.scores - everything.scores.max(), dtype=np.float64)
    assert best.outputs == {}
    assert [(c.index, c.label) for c in best.top] == [(i, model.labels[i]) for i in order]
    np.testing.assert_array_equal([c.score for c in best.top], everything.scores[order])
    np.testing.assert_allclose(
        [c.probability for c in best.top], odds[order] / odds.sum(), rtol=1e-6
    )
    assert half.scores.dtype == np.float16
    np.testing.assert_array_equal(half.scores, everything.scores.astype(np.float16))
    (result,) = streamed
    assert isinstance(result, SnippetScores)
    assert result.top == best.top


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(outputs=("softmax",)), "has no output 'softmax'; it has scores, features"),
        (Reply(top_k=6), "reply.top_k 6: model 'tiny_rgb' has 5 classes"),
    ],
)
async def test_a_reply_that_the_model_cannot_give_is_refused_alone(tiny_repository, reply, reason):
    async with (
        running_daemon(tiny_repository) as daemon,
        AsyncClient(daemon.endpoints.grpc) as client,
    ):
        model = await client.model("tiny_rgb")
        with pytest.raises(SnippetRejected, match=reason):
            await client.score(model, FRAMES[0], reply=reply)
        (result,) = [r async for r in client.score_stream(model, [("s", FRAMES[0])], reply=reply)]

    assert isinstance(result, SnippetRejected)


@pytest.mark.parametrize("group_size", [1, 3])
async def test_both_clients_score_the_same_through_shared_memory_as_without(
    tiny_repository, group_size
):
    snippets = [(str(i), frame) for i, frame in enumerate(FRAMES)]
    async with running_daemon(tiny_repository) as daemon:
        target = daemon.endpoints.grpc

        def by_sync(shared_memory):
            with Client(target, max_in_flight=6, shared_memory=shared_memory) as client:
                model = client.model("tiny_rgb")
                return list(client.score_stream(model, snippets, group_size=group_size))

        async with AsyncClient(target, max_in_flight=6) as client:
            model = await client.model("tiny_rgb")
            by_async = [
                r async for r in client.score_stream(model, snippets, group_size=group_size)
            ]
        shared = await asyncio.to_thread(by_sync, True)
        sent = await asyncio.to_thread(by_sync, False)

    assert model.shared_memory
    for results in (shared, by_async):
        assert [r.snippet_id for r in results] == [name for name, _ in snippets]
        for result, expected in zip(results, sent, strict=True):
            np.testing.assert_array_equal(result.scores, expected.scores)


async def test_pixels_do_not_travel_once_memory_is_attached(tiny_repository):
    received: list[Any] = []

    class Watching(SyntheticExecutor):
        def start(self, slot, snippets):
            received.extend(s for s in snippets if s.id != "warm-up")
            super().start(slot, snippets)

    async with (
        running_daemon(tiny_repository, make_executor=Watching) as daemon,
        AsyncClient(daemon.endpoints.grpc, max_in_flight=2) as client,
    ):
        model = await client.model("tiny_rgb")
        async for _ in client.score_stream(model, [(str(i), f) for i, f in enumerate(FRAMES)]):
            pass

    assert len(received) == len(FRAMES)
    in_messages = [s.id for s in received if not isinstance(owner(s.pixels), mmap.mmap)]
    assert in_messages == [str(i) for i in range(len(in_messages))]
    assert len(in_messages) <= 2  # those that were sent before the daemon had answered


async def test_where_shared_memory_is_off_pixels_are_sent_without_a_word(tiny_repository):
    async with (
        running_daemon(tiny_repository, max_shared_memory_regions=0) as daemon,
        AsyncClient(daemon.endpoints.grpc) as client,
    ):
        model = await client.model("tiny_rgb")
        results = [r async for r in client.score_stream(model, [("s", FRAMES[0])] * 3)]

    assert not model.shared_memory
    assert all(isinstance(r, SnippetScores) for r in results)


async def test_where_no_more_regions_may_be_open_pixels_are_sent_without_a_word(tiny_repository):
    async with (
        running_daemon(tiny_repository, max_shared_memory_regions=1) as daemon,
        AsyncClient(daemon.endpoints.grpc, max_in_flight=2) as client,
    ):
        model = await client.model("tiny_rgb")
        snippets = [("s", frame) for frame in FRAMES[:8]]
        first, second = (client.score_stream(model, snippets) for _ in range(2))
        opened = [await anext(first) for _ in range(4)]
        results = [r async for r in second]
        results += opened + [r async for r in first]

    assert len(results) == 16
    assert all(isinstance(r, SnippetScores) for r in results)


async def read(call):
    reply = await call.read()
    assert reply is not aio.EOF
    return reply


def shared(name, offset):
    return snippets_pb2.Snippet(
        id=name,
        modality=model_pb2.MODALITY_RGB,
        shape=[16, 21, 3],
        shared=snippets_pb2.SharedRange(offset=offset),
    )


def request(*snippets):
    return snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=snippets)


async def test_ranges_outside_and_second_memories_are_refused_and_the_stream_goes_on(
    tiny_repository,
):
    memory = SnippetMemory((16, 21, 3), 2)
    size = 16 * 21 * 3
    memory.put(FRAMES[0])
    async with running_daemon(tiny_repository) as daemon:
        call = daemon.stub.ScoreStream()
        await call.write(request(shared("early", 0)))
        early = (await read(call)).results[0].error
        await call.write(snippets_pb2.ScoreRequest(attach=memory.where))
        attached = (await read(call)).attachment
        await call.write(snippets_pb2.ScoreRequest(attach=memory.where))
        again = (await read(call)).attachment
        outside = []
        for offset in (size + 1, 2**64 - 1):
            await call.write(request(shared("outside", offset)))
            outside.append((await read(call)).results[0].error)
        await call.write(request(shared("good", 0)))
        good = (await read(call)).results[0]
        await call.done_writing()
        assert await call.read() is aio.EOF
    memory.close()

    assert "has attached none" in early.message
    assert attached.refusal == ""
    assert "has attached shared memory before" in again.refusal
    assert all(f"it has {2 * size}" in error.message for error in outside)
    assert good.response.snippet_id == "good"


async def test_attach_is_for_streams(tiny_repository):
    memory = SnippetMemory((16, 21, 3), 1)
    async with running_daemon(tiny_repository) as daemon:
        with pytest.raises(aio.AioRpcError, match="attach is for streams"):
            await daemon.stub.Score(snippets_pb2.ScoreRequest(attach=memory.where))
    memory.close()


async def test_memory_by_name_that_shrinks_fails_its_snippets_alone(tiny_repository):
    path = Path("/dev/shm") / f"tsnd-test-{os.getpid()}"
    path.write_bytes(bytes(16 * 21 * 3))
    try:
        async with running_daemon(tiny_repository) as daemon:
            call = daemon.stub.ScoreStream()
            where = snippets_pb2.SharedMemory(key=path.name, byte_size=16 * 21 * 3)
            await call.write(snippets_pb2.ScoreRequest(attach=where))
            assert (await read(call)).attachment.refusal == ""
            await call.write(request(shared("there", 0)))
            there = (await read(call)).results[0]
            os.truncate(path, 7)
            await call.write(request(shared("gone", 0)))
            gone = (await read(call)).results[0]
            await call.done_writing()
    finally:
        path.unlink()

    assert there.HasField("response")
    assert "has become smaller than it was said to be: 7 of 1008" in gone.error.message


CLIENT = """
import sys, numpy as np
from tsnd_client import Client
with Client(sys.argv[1], max_in_flight=4) as client:
    model = client.model("tiny_rgb")
    frames = (("s", np.zeros(model.snippet_shape, np.uint8)) for _ in range(10**9))
    for count, result in enumerate(client.score_stream(model, frames)):
        if count == 50:
            print("streaming", flush=True)
"""


async def test_of_a_client_that_is_killed_nothing_is_left(tiny_repository):
    names, before = shared_names(), mappings()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["protos", "client"])}
    async with running_daemon(tiny_repository) as daemon:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, daemon.endpoints.grpc,
            stdout=subprocess.PIPE, env=env,
        )  # fmt: skip
        assert process.stdout is not None
        assert await process.stdout.readline() == b"streaming\n"
        assert len(mappings() - before) == 1  # the daemon is in this process
        process.send_signal(signal.SIGKILL)
        await process.wait()
        # Until the daemon has heard of it; each call gives its loop some turns.
        for _ in range(500):
            if mappings() <= before:
                break
            await daemon.stub.ListModels(snippets_pb2.ListModelsRequest())
        assert mappings() <= before
        reply = await daemon.stub.Score(
            request(
                snippets_pb2.Snippet(
                    modality=model_pb2.MODALITY_RGB, shape=[16, 21, 3], raw=FRAMES[0].tobytes()
                )
            )
        )

    assert shared_names() <= names
    assert reply.model == "tiny_rgb"


def test_a_pair_takes_jpeg_of_either_modality(tiny_repository):
    async def score():
        pairs = {"tiny": "tiny_rgb+tiny_flow"}
        async with (
            running_daemon(tiny_repository, pairs=pairs) as daemon,
            AsyncClient(daemon.endpoints.grpc) as client,
        ):
            rgb = await client.model("tiny", Modality.RGB)
            flow = await client.model("tiny", Modality.FLOW)
            planes = [compressed(plane) for plane in STACKS[0]]
            return [
                (await client.score(rgb, Jpeg(compressed(FRAMES[0])))).model,
                (await client.score(flow, Jpeg(*planes))).model,
            ]

    assert asyncio.run(score()) == ["tiny_rgb", "tiny_flow"]
