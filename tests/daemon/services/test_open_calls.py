"""Calls that are open when the daemon stops are answered, and none begins after."""

import asyncio

import pytest

from tsnd_daemon.errors import Draining
from tsnd_daemon.services.open_calls import OpenCalls


class Stream:
    reads = True

    def stop_reading(self):
        self.reads = False


async def test_with_nothing_open_there_is_nothing_to_wait_for():
    assert await OpenCalls(max_streams=8).drain() is False


async def test_draining_waits_for_every_call_and_stops_every_stream():
    calls, stream, ended = OpenCalls(max_streams=8), Stream(), Stream()
    with calls.track(ended):
        pass
    with calls.track():
        with calls.track(stream):
            draining = asyncio.create_task(calls.drain())
            await asyncio.sleep(0)
            assert (stream.reads, ended.reads) == (False, True)
            assert calls.are_draining
        await asyncio.sleep(0)
        assert not draining.done()

    assert await draining is True


async def test_what_comes_while_draining_is_refused():
    calls = OpenCalls(max_streams=8)
    calls.refuse_new("request")
    calls.end_stream()
    await calls.drain()

    with pytest.raises(Draining, match="send the request to another"):
        calls.refuse_new("request")
    with pytest.raises(Draining, match="All that it had accepted on this stream is answered"):
        calls.end_stream()
