"""Shared memory is told about in its own place, and let go of with its stream."""

import asyncio
import gc
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from tests.daemons import running_daemon
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.shared_memory import FOLDER

STREAM = "/tsnd.v1.SnippetService/ScoreStream"
SHAPE = (16, 21, 3)
BYTES = 4_096
SHRUNK = 100  # to which the memory is cut
LOOKS = 5_000


@contextmanager
def shared(name):
    """Shared memory of a name; yields its path."""
    path = FOLDER / name
    path.write_bytes(bytes(range(256)) * (BYTES // 256))
    try:
        yield path
    finally:
        path.unlink()


def attach(path):
    memory = snippets_pb2.SharedMemory(key=path.name, byte_size=BYTES)
    return snippets_pb2.ScoreRequest(attach=memory)


def request(offset=0, **fields):
    snippet = snippets_pb2.Snippet(id=str(offset), modality=model_pb2.MODALITY_RGB, shape=SHAPE)
    snippet.shared.offset = offset
    return snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=[snippet], **fields)


def is_open(path):
    """Whether this process, and so the daemon in it, has a file open."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return any(link == path for link in links)


def is_let_go(path):
    """Look until it is."""
    return any(not is_open(path) for _ in range(LOOKS))


@contextmanager
def without_collector():
    """Let nothing go but by the count of references."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_an_attachment_is_answered_in_a_message_of_its_own(tiny_repository):
    with shared(f"tsnd-test-{os.getpid()}") as path:
        black = snippets_pb2.Snippet(modality=model_pb2.MODALITY_RGB, shape=SHAPE, raw=bytes(1_008))
        sent = snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=[black])
        async with running_daemon(tiny_repository) as daemon:
            messages = [sent, attach(path), attach(path), sent, sent]
            replies = [reply async for reply in daemon.stub.ScoreStream(iter(messages))]

    attachments = [reply for reply in replies if reply.HasField("attachment")]
    assert [bool(reply.attachment.refusal) for reply in attachments] == [False, True]
    assert not any(reply.results for reply in attachments)
    assert sum(len(reply.results) for reply in replies) == 3


@pytest.mark.parametrize(
    "messages",
    [
        [request()],
        [request(), request(offset=BYTES)],
        [request(timeout_us=3_600 * 10**6)],
        [request(), snippets_pb2.ScoreRequest()],
        [request(), b"\xff" * 9],
    ],
    ids=["scored", "refused", "with a late deadline", "ended by a status", "unreadable"],
)
async def test_memory_is_let_go_of_with_its_stream(tiny_repository, messages):
    with shared(f"tsnd-test-{os.getpid()}") as path:
        async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
            with without_collector():
                call: Any = daemon.channel.stream_stream(STREAM)()
                for message in (attach(path), *messages):
                    data = message if isinstance(message, bytes) else message.SerializeToString()
                    await call.write(data)
                await call.done_writing()
                await read_all(call)
                assert await asyncio.to_thread(is_let_go, path)


async def test_memory_that_has_shrunk_is_let_go_of_too(tiny_repository):
    with shared(f"tsnd-test-{os.getpid()}") as path:
        async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
            with without_collector():
                call: Any = daemon.channel.stream_stream(STREAM)()
                await call.write(attach(path).SerializeToString())
                await call.read()
                os.truncate(path, SHRUNK)
                await call.write(request().SerializeToString())
                await call.done_writing()
                assert b"has become smaller" in b"".join(await read_all(call))
                assert await asyncio.to_thread(is_let_go, path)


async def read_all(call):
    """All replies of a stream, whatever its end."""
    replies: list[bytes] = []
    try:
        while (reply := await call.read()) is not aio.EOF:
            replies.append(reply)
    except aio.AioRpcError:
        pass
    return replies
