"""One call of ScoreStream: a reader accepts, a writer answers in order.

    context.read ──► reader ──► unanswered ──► writer ──► context.write

The reader stops while max_in_flight snippets are unanswered, and gRPC's flow control then
slows that client alone. The writer puts into one message what is ready: a message costs
the daemon about as much as the results in it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from grpc import aio

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import InvalidSnippet, RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.scheduling.waiting_room import Waiting
from tsnd_daemon.services.answers import Answers
from tsnd_daemon.services.messages import error_result
from tsnd_daemon.serving.served_model import ServedModel
from tsnd_daemon.snippets import Execution
from tsnd_daemon.wire.requests import Buffer, Request, readable
from tsnd_daemon.wire.responses import ScoreWriter

Context = aio.ServicerContext[snippets_pb2.ScoreRequest, snippets_pb2.ScoreStreamResponse]


@dataclass(slots=True, eq=False)
class Accepted:
    """A snippet whose scores are to come, of a message that began to be read at some time."""

    snippet_id: str
    model: ServedModel
    waiting: Waiting
    writer: ScoreWriter
    received_ns: int

    def withdraw(self) -> None:
        """Forget it, before it costs compute if possible."""
        self.model.batcher.withdraw(self.waiting)

    def join(self, answers: Answers, execution: Execution) -> None:
        """Be one of the answers of a message, with what a batch gave."""
        answers.take(
            self.model,
            execution,
            received_ns=self.received_ns,
            arrived_ns=self.waiting.enqueued_ns,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Refused:
    """A snippet that gets no scores."""

    snippet_id: str
    error: RequestError


@dataclass(frozen=True, slots=True, eq=False)
class _Attached:
    """The answer to `attach`."""

    refusal: str


Accept = Callable[[snippets_pb2.Snippet, Buffer | None], Accepted]
"""Queues a snippet of a message, with its pixels; raises RequestError."""

Admit = Callable[[snippets_pb2.ScoreRequest, int], Accept]
"""Reads what holds for all snippets of a message, which began to be read at some time
(monotonic nanoseconds); raises RequestError."""

Attach = Callable[[snippets_pb2.SharedMemory], None]
"""Lets the snippets of a stream be in shared memory; raises RequestError."""


_Item = Accepted | _Refused | _Attached


class ScoreStream:
    """One call; make it, `run` it once."""

    def __init__(
        self,
        context: Context,
        admit: Admit,
        attach: Attach,
        metrics: Metrics,
        *,
        max_in_flight: int,
        max_group_size: int,
    ) -> None:
        """Prepare a call.

        Args:
            context: Of the call.
            admit: Says how the snippets of a message are queued.
            attach: Opens shared memory for them.
            metrics: Where refusals are counted.
            max_in_flight: Unanswered snippets with which nothing more is read.
            max_group_size: Most snippets in one message.
        """
        self._context = context
        self._admit = admit
        self._attach = attach
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._max_group_size = max_group_size
        self._unanswered: deque[_Item] = deque()
        self._answers = Answers(context)
        self._in_flight = 0
        self._has_ended = False
        self._arrived = asyncio.Event()
        self._window = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._reads = True

    def stop_reading(self) -> None:
        """Answer what was accepted, and read nothing more."""
        self._reads = False
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """Serve the call to its end.

        Raises:
            InvalidSnippet: When a message has no snippet, so that no result could say so.
        """
        self._reader = asyncio.create_task(self._read())
        # Not by the reader itself: one that is cancelled before it starts never gets there.
        self._reader.add_done_callback(self._end)
        try:
            await self._answer()
        finally:
            self._reader.cancel()
            while self._unanswered:
                self._forget(self._unanswered.popleft())
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        """Accept snippets while the window is open."""
        while self._reads:
            while self._in_flight >= self._max_in_flight:
                self._window.clear()
                await self._window.wait()
            if not await self._read_message():
                return
            self._arrived.set()

    async def _read_message(self) -> bool:
        """Accept what a message has, and keep nothing of it; returns whether there was one."""
        message: object = await self._context.read()
        if message is aio.EOF:
            return False
        self._take_all(cast("Request", message))
        return True

    def _take_all(self, request: Request) -> None:
        """Queue what a message has, or refuse it, snippet by snippet."""
        message = readable(request)
        snippets = message.snippets
        if message.HasField("attach"):
            self._take_attachment(message.attach)
            return
        if not snippets:
            raise InvalidSnippet("a ScoreRequest without snippets: send at least one.")
        self._in_flight += len(snippets)
        try:
            if len(snippets) > self._max_group_size:
                raise InvalidSnippet(
                    f"a message of {len(snippets)} snippets: at most {self._max_group_size} are "
                    "allowed (max_group_size)."
                )
            accept = self._admit(message, request.received_ns)
        except RequestError as err:
            self._unanswered.extend(_Refused(snippet.id, err) for snippet in snippets)
            return
        for snippet, pixels in zip(snippets, request.pixels, strict=True):
            try:
                self._unanswered.append(accept(snippet, pixels))
            except RequestError as err:
                self._unanswered.append(_Refused(snippet.id, err))

    def _take_attachment(self, memory: snippets_pb2.SharedMemory) -> None:
        refusal = ""
        try:
            self._attach(memory)
        except RequestError as err:
            refusal = str(err)
        self._in_flight += 1
        self._unanswered.append(_Attached(refusal))

    async def _answer(self) -> None:
        """Write results in order until the reader has ended and all are answered."""
        while self._unanswered or not self._has_ended:
            if not self._unanswered:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await _settled(self._unanswered[0])
            results = self._take_settled()
            # Messages of one type that are joined are one with the fields of all.
            await self._context.write(b"".join(results))  # type: ignore[arg-type] # see add_to_server
            self._answers.note_written()
            # Only now: who does not read its results is not read either.
            self._in_flight -= len(results)
            self._window.set()

    def _take_settled(self) -> list[bytes]:
        """Take results that go into one message; an attachment has a message of its own."""
        results: list[bytes] = []
        while self._unanswered and _is_settled(self._unanswered[0]):
            is_attachment = isinstance(self._unanswered[0], _Attached)
            if is_attachment and results:
                break
            results.append(self._result(self._unanswered.popleft()))
            if is_attachment or len(results) == self._max_group_size:
                break
        return results

    def _result(self, item: _Item) -> bytes:
        """Write a ScoreStreamResponse of one result."""
        if isinstance(item, _Attached):
            attachment = snippets_pb2.Attachment(refusal=item.refusal)
            return snippets_pb2.ScoreStreamResponse(attachment=attachment).SerializeToString()
        try:
            if isinstance(item, _Refused):
                raise item.error
            scores = item.waiting.scores.result()
        except RequestError as err:
            self._metrics.note_rejected(err)
            err.forget_frames()
            result = error_result(item.snippet_id, err)
            return snippets_pb2.ScoreStreamResponse(results=[result]).SerializeToString()
        item.join(self._answers, scores.execution)
        return item.writer.result(item.snippet_id, scores)

    def _end(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            reader.exception()  # else asyncio complains when the client has gone by then
        self._has_ended = True
        self._arrived.set()

    def _forget(self, item: _Item) -> None:
        """Withdraw a snippet of a client that has gone."""
        if isinstance(item, Accepted):
            item.withdraw()


async def _settled(item: _Item) -> None:
    """Wait until a snippet has scores or an error, and leave both in its future."""
    if isinstance(item, Accepted):
        with contextlib.suppress(RequestError):
            await item.waiting.scores


def _is_settled(item: _Item) -> bool:
    return not isinstance(item, Accepted) or item.waiting.scores.done()
