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
from typing import TYPE_CHECKING, cast

from grpc import aio

from tsnd.v1 import snippets_pb2
from tsnd_daemon.batcher import Waiting
from tsnd_daemon.errors import InvalidSnippet, RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.services.messages import write_error, write_scores
from tsnd_daemon.services.requests import Buffer, Request, readable
from tsnd_daemon.serving import ServedModel

if TYPE_CHECKING:
    from tsnd_daemon.services.snippets import Context


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A snippet whose scores are to come."""

    snippet_id: str
    model: ServedModel
    waiting: Waiting

    def withdraw(self) -> None:
        """Forget it, before it costs compute if possible."""
        self.model.batcher.withdraw(self.waiting)


@dataclass(frozen=True, slots=True, eq=False)
class _Refused:
    """A snippet that gets no scores."""

    snippet_id: str
    error: RequestError


Accept = Callable[[snippets_pb2.ScoreRequest, snippets_pb2.Snippet, Buffer | None], Accepted]
"""Queues a snippet of a request, with its pixels; raises RequestError."""


class ScoreStream:
    """One call; make it, `run` it once."""

    def __init__(
        self,
        context: "Context",
        accept: Accept,
        metrics: Metrics,
        *,
        max_in_flight: int,
        max_group_size: int,
    ) -> None:
        """Prepare a call.

        Args:
            context: Of the call.
            accept: Queues a snippet.
            metrics: Where refusals are counted.
            max_in_flight: Unanswered snippets with which nothing more is read.
            max_group_size: Most snippets in one message.
        """
        self._context = context
        self._accept = accept
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._max_group_size = max_group_size
        self._unanswered: deque[Accepted | _Refused] = deque()
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
            message: object = await self._context.read()
            if message is aio.EOF:
                return
            self._take_all(cast("Request", message))
            self._arrived.set()

    def _take_all(self, request: Request) -> None:
        message = readable(request)
        if not message.snippets:
            raise InvalidSnippet("a ScoreRequest without snippets: send at least one.")
        self._in_flight += len(message.snippets)
        for snippet, pixels in zip(message.snippets, request.pixels, strict=True):
            self._unanswered.append(self._take(message, snippet, pixels))

    def _take(
        self,
        request: snippets_pb2.ScoreRequest,
        snippet: snippets_pb2.Snippet,
        pixels: Buffer | None,
    ) -> Accepted | _Refused:
        try:
            if len(request.snippets) > self._max_group_size:
                raise InvalidSnippet(
                    f"snippet {snippet.id[:64]!r}: its message has {len(request.snippets)} "
                    f"snippets, at most {self._max_group_size} are allowed (max_group_size)."
                )
            return self._accept(request, snippet, pixels)
        except RequestError as err:
            return _Refused(snippet.id, err)

    async def _answer(self) -> None:
        """Write results in order until the reader has ended and all are answered."""
        while self._unanswered or not self._has_ended:
            if not self._unanswered:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await _settled(self._unanswered[0])
            reply = snippets_pb2.ScoreStreamResponse()
            count = 0
            while self._unanswered and _is_settled(self._unanswered[0]):
                self._write_result(reply.results.add(), self._unanswered.popleft())
                count += 1
                if count == self._max_group_size:
                    break
            await self._context.write(reply)
            # Only now: who does not read its results is not read either.
            self._in_flight -= count
            self._window.set()

    def _write_result(self, result: snippets_pb2.SnippetResult, item: Accepted | _Refused) -> None:
        try:
            if isinstance(item, _Refused):
                raise item.error
            scores = item.waiting.scores.result()
        except RequestError as err:
            self._metrics.rejected.labels(err.code.name).inc()
            write_error(result.error, item.snippet_id, err)
        else:
            write_scores(result.response, item.snippet_id, item.model.manifest, scores)

    def _end(self, _reader: asyncio.Task[None]) -> None:
        self._has_ended = True
        self._arrived.set()

    def _forget(self, item: Accepted | _Refused) -> None:
        """Withdraw a snippet of a client that has gone."""
        if isinstance(item, Accepted):
            item.withdraw()


async def _settled(item: Accepted | _Refused) -> None:
    """Wait until a snippet has scores or an error, and leave both in its future."""
    if isinstance(item, Accepted):
        with contextlib.suppress(RequestError):
            await item.waiting.scores


def _is_settled(item: Accepted | _Refused) -> bool:
    return isinstance(item, _Refused) or item.waiting.scores.done()
