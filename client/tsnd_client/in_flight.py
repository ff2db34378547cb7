"""Bookkeeping of one stream, shared by both clients; does no I/O and starts nothing.

An exception of the caller's input is held back until every snippet sent before it
has been answered, so that it surfaces in its place in the stream.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from tsnd.v1 import snippets_pb2
from tsnd_client.errors import BadReply, ClientError, DaemonUnavailable, StreamInterrupted
from tsnd_client.messages import ModelInfo, StreamResult, from_stream_response, to_request

# A snippet as the caller gives it: its id, its pixels.
NamedPixels = tuple[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The status that ended a stream."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""


class InFlight:
    """The snippets of one stream that were sent and are not answered yet."""

    def __init__(self, model: ModelInfo, target: str) -> None:
        self._model = model
        self._target = target
        self._ids: deque[str] = deque()
        self._answered = 0
        self._input_ended = False
        self._input_error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def requests(self, snippets: Iterable[NamedPixels]) -> Iterator[snippets_pb2.ScoreRequest]:
        """Turn the input into requests; it ends with the input or at its first exception."""
        try:
            for snippet_id, pixels in snippets:
                yield self._request(snippet_id, pixels)
        except Exception as err:  # noqa: BLE001 -- finish() raises it
            self._input_error = err
        self._input_ended = True

    async def requests_async(
        self, snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels]
    ) -> AsyncGenerator[snippets_pb2.ScoreRequest, None]:
        """Turn the input into requests, as `requests` does.

        A cancellation inside the input is held back too: nobody else would hear of it.
        """
        try:
            async with aclosing(_each(snippets)) as each:
                async for snippet_id, pixels in each:
                    yield self._request(snippet_id, pixels)
        except (Exception, asyncio.CancelledError) as err:  # noqa: BLE001 -- finish() raises it
            self._input_error = err
        self._input_ended = True

    def settle(self, reply: snippets_pb2.ScoreStreamResponse | StreamEnd) -> StreamResult:
        """Match a reply with the oldest snippet that has none.

        Raises:
            BadReply: It is not the reply for that snippet.
            DaemonUnavailable: The stream ended instead; no daemon was there.
            StreamInterrupted: The stream ended instead.
        """
        if isinstance(reply, StreamEnd):
            raise self._interruption(reply)
        if not self._ids:
            raise BadReply("the daemon sent more replies than it was sent snippets")
        result = from_stream_response(self._model, self._ids.popleft(), reply)
        self._answered += 1
        return result

    def finish(self, end: StreamEnd) -> None:
        """Judge the end of the stream.

        Raises:
            BaseException: Whatever the caller's input raised, unchanged.
            FrameMismatch: The input gave pixels that the model does not take.
            DaemonUnavailable: No daemon was there.
            StreamInterrupted: The daemon ended the stream early.
        """
        if self._input_error is not None:
            raise self._input_error
        if self._ids or not self._input_ended or end.code is not grpc.StatusCode.OK:
            raise self._interruption(end)

    def _request(self, snippet_id: str, pixels: npt.NDArray[np.uint8]) -> snippets_pb2.ScoreRequest:
        request = to_request(self._model, snippet_id, pixels)
        self._ids.append(snippet_id)
        return request

    def _interruption(self, end: StreamEnd) -> ClientError:
        if end.code is grpc.StatusCode.UNAVAILABLE and not self._answered:
            return DaemonUnavailable(self._target, end.details)
        return StreamInterrupted(end.code, end.details, self._answered, len(self._ids))


async def _each(
    snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels],
) -> AsyncGenerator[NamedPixels, None]:
    if isinstance(snippets, AsyncIterable):
        async for snippet in snippets:
            yield snippet
    else:
        for snippet in snippets:
            yield snippet
