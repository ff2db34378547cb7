"""One call of ModelStreamInfer: a reader accepts, a writer answers in order.

As in ScoreStream, the reader stops while as many snippets are unanswered as may be, and
gRPC's flow control then slows that client alone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from grpc import aio

from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.services.answers import Answers
from tsnd_daemon.services.kserve.infer import Accepted
from tsnd_daemon.services.messages import error_message
from tsnd_daemon.wire.infer_requests import InferRequest, readable

Context = aio.ServicerContext[Any, pb.ModelStreamInferResponse]


Accept = Callable[[InferRequest], Accepted]
"""Queues the snippets of a request; raises RequestError."""


@dataclass(frozen=True, slots=True, eq=False)
class _Refused:
    """A request that gets nothing."""

    request_id: str
    error: RequestError
    rows: int = 1


class InferStream:
    """One call; make it, `run` it once."""

    def __init__(
        self, context: Context, accept: Accept, metrics: Metrics, *, max_in_flight: int
    ) -> None:
        """Prepare a call.

        Args:
            context: Of the call.
            accept: Queues the snippets of a request.
            metrics: Where refusals are counted.
            max_in_flight: Unanswered snippets with which nothing more is read.
        """
        self._context = context
        self._accept = accept
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._answers = Answers(context)
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
            InvalidRequest: When a message cannot be read, so that no response could name it.
        """
        self._reader = asyncio.create_task(self._read())
        # Not by the reader itself: one that is cancelled before it starts never gets there.
        self._reader.add_done_callback(self._end)
        try:
            await self._answer()
        finally:
            self._reader.cancel()
            for item in self._unanswered:
                if isinstance(item, Accepted):
                    item.withdraw()
            self._unanswered.clear()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        """Accept requests while the window is open."""
        while self._reads:
            while self._in_flight >= self._max_in_flight:
                self._window.clear()
                await self._window.wait()
            if not await self._read_one():
                return

    # By itself, so that a stream that waits for the next request keeps no pixels of the last.
    async def _read_one(self) -> bool:
        """Accept or refuse the next request; returns False when there is none."""
        message: object = await self._context.read()
        if message is aio.EOF:
            return False
        item = self._take(cast("InferRequest", message))
        self._in_flight += item.rows
        self._unanswered.append(item)
        self._arrived.set()
        return True

    def _take(self, request: InferRequest) -> Accepted | _Refused:
        request_id = readable(request).id
        try:
            return self._accept(request)
        except RequestError as err:
            return _Refused(request_id, err)

    async def _answer(self) -> None:
        """Write responses in order until the reader has ended and all are answered."""
        while self._unanswered or not self._has_ended:
            if not self._unanswered:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                await self._answer_one()

    async def _answer_one(self) -> None:
        """Write the response to the oldest request."""
        item = self._unanswered[0]
        response = await self._response(item)
        await self._context.write(response)
        if isinstance(item, Accepted) and not response.error_message:
            item.note_written(self._answers)
        # Only now: who does not read its responses is not read either.
        self._unanswered.popleft()
        self._in_flight -= item.rows
        self._window.set()

    async def _response(self, item: Accepted | _Refused) -> pb.ModelStreamInferResponse:
        response = pb.ModelStreamInferResponse()
        try:
            if isinstance(item, _Refused):
                raise item.error
            response.infer_response.CopyFrom(await item.response())
        except RequestError as err:
            self._metrics.note_rejected(err)
            err.forget_frames()
            response.error_message = error_message(err)
            response.infer_response.id = item.request_id
        return response

    def _end(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            reader.exception()  # else asyncio complains when the client has gone by then
        self._has_ended = True
        self._arrived.set()
