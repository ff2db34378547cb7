"""One stream over gRPC's asyncio API: tasks send and receive while results are awaited.

input ──► pulling task ──► outbox ──► writer task ──► daemon ──► reader task ──► inbox ──► results
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from tsnd.v1 import snippets_pb2
from tsnd_client.in_flight import InFlight, NamedPixels, StreamEnd
from tsnd_client.messages import StreamResult
from tsnd_client.outbox import Outbox

if TYPE_CHECKING:
    # The generated code has this class for type checkers only.
    from tsnd.v1.snippets_pb2_grpc import SnippetServiceAsyncStub

_Call = grpc.aio.StreamStreamCall[snippets_pb2.ScoreRequest, snippets_pb2.ScoreStreamResponse]
_Inbox = asyncio.Queue[snippets_pb2.ScoreStreamResponse | StreamEnd]

# The details of the status that grpc.aio makes up when a write fails.
_FAILED_WRITE = "Internal error from Core"


async def stream_results(
    stub: "SnippetServiceAsyncStub",
    in_flight: InFlight,
    snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels],
    *,
    max_in_flight: int,
    deadline_s: float | None,
) -> AsyncGenerator[StreamResult, None]:
    """Send snippets and yield their results; `AsyncClient.score_stream` tells the rest."""
    inbox: _Inbox = asyncio.Queue()
    slots = asyncio.Semaphore(max_in_flight)
    call = stub.ScoreStream(timeout=deadline_s)
    sending = _Sending(in_flight.most_together)
    tasks = (
        asyncio.create_task(
            _pull(in_flight.requests_async(snippets), sending, slots, in_flight.group_size)
        ),
        asyncio.create_task(_write(call, sending)),
        asyncio.create_task(_read(call, inbox)),
    )
    try:
        while not isinstance(reply := await inbox.get(), StreamEnd):
            for result in in_flight.settle(reply):
                slots.release()
                yield result
        in_flight.finish(reply)
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        # A failed write shows in the call's end, too; that was read from the inbox.
        await asyncio.gather(*tasks, return_exceptions=True)
        in_flight.close()


class _Sending:
    """Hands requests from the task that pulls the input to the one that writes."""

    def __init__(self, most_together: int) -> None:
        self._outbox = Outbox(most_together)
        self._changed = asyncio.Event()
        self._has_ended = False

    def put(self, request: snippets_pb2.ScoreRequest) -> None:
        """Let a request be sent, after those before."""
        self._outbox.put(request)
        self._changed.set()

    def end(self) -> None:
        """Let the iteration end when all is sent."""
        self._has_ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[snippets_pb2.ScoreRequest]:
        """Iterate over what is to be sent, joined as it has gathered meanwhile."""
        while self._outbox or not self._has_ended:
            if self._outbox:
                yield self._outbox.take()
            else:
                self._changed.clear()
                await self._changed.wait()


async def _pull(
    requests: AsyncGenerator[snippets_pb2.ScoreRequest, None],
    sending: _Sending,
    slots: asyncio.Semaphore,
    group_size: int,
) -> None:
    """Pull the input; slots for a whole group are held while it is pulled."""
    task = asyncio.current_task()
    async with aclosing(requests):
        await _acquire(slots, group_size)
        async for request in requests:
            if task is not None and task.cancelling():
                # The requests hold a cancellation back, and nobody releases slots any more.
                return
            sending.put(request)
            # As many as this one used; the last group may be a small one.
            await _acquire(slots, len(request.snippets))
    sending.end()


async def _write(call: _Call, sending: _Sending) -> None:
    async for request in sending:
        await call.write(request)
    await call.done_writing()


async def _acquire(slots: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        await slots.acquire()


async def _read(call: _Call, inbox: _Inbox) -> None:
    """Move a call's replies, then its end, into a queue.

    Reading on while the caller is busy matters: gRPC tells the call's status only after
    the last reply, and a write that fails before that replaces the status for good. By
    iteration, not by call.read(): that loses the replies still unread after such a write.
    """
    end = StreamEnd(grpc.StatusCode.CANCELLED, "the client was closed")
    try:
        async for reply in call:
            inbox.put_nowait(reply)
        end = StreamEnd()
    except grpc.RpcError as err:
        end = to_end(err.code(), err.details() or "")
    finally:
        inbox.put_nowait(end)


def to_end(code: grpc.StatusCode, details: str) -> StreamEnd:
    """Make sense of the status that a call has raised."""
    if details == _FAILED_WRITE:
        # The true status is lost. A daemon that stops is the likely reason.
        return StreamEnd(
            grpc.StatusCode.UNAVAILABLE, "the stream was closed while a snippet was being sent"
        )
    return StreamEnd(code, details)
