"""Bookkeeping of one stream, shared by both clients; does no I/O and starts nothing.

Snippets travel in groups, one message each; results come one by one, whatever messages
they travel in. An exception of the caller's input is held back until every snippet before
it has been sent and answered, so that it surfaces in its place in the stream.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

import grpc
import numpy as np
import numpy.typing as npt

from tsnd.v1 import snippets_pb2
from tsnd_client.errors import BadReply, ClientError, DaemonUnavailable, StreamInterrupted
from tsnd_client.jpeg import Jpeg
from tsnd_client.messages import StreamResult, add_snippet, from_result, new_request
from tsnd_client.model_info import ModelInfo
from tsnd_client.reply import EVERYTHING, Reply
from tsnd_client.shared_memory import SnippetMemory
from tsnd_client.urgency import Urgency

logger = logging.getLogger(__name__)

# A snippet as the caller gives it: its id, its pixels.
NamedPixels = tuple[str, npt.NDArray[np.uint8] | Jpeg]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The status that ended a stream."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""


class _Sent(NamedTuple):
    """A snippet that was sent, and where its pixels are in shared memory, if they are."""

    snippet_id: str
    offset: int | None


class InFlight:
    """The snippets of one stream that were sent and are not answered yet."""

    def __init__(
        self,
        model: ModelInfo,
        target: str,
        *,
        group_size: int = 1,
        most_together: int = 1,
        urgency: Urgency | None = None,
        reply: Reply = EVERYTHING,
        memory: SnippetMemory | None = None,
    ) -> None:
        """Begin with none.

        Args:
            model: The model to score snippets with.
            target: HOST:PORT of the daemon.
            group_size: Snippets in one request, which waits until it has them.
            most_together: Most snippets of requests that are sent as one.
            urgency: What requests say about time; None is the usual.
            reply: What results hold.
            memory: What to offer to the daemon for the pixels; ours to close.
        """
        self.group_size = group_size
        self.most_together = most_together
        self._model = model
        self._target = target
        self._urgency = urgency or Urgency()
        self._reply = reply
        self._offered = memory
        self._attached: SnippetMemory | None = None
        self._sent: deque[_Sent] = deque()
        self._answered = 0
        self._input_ended = False
        self._input_error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._sent)

    def close(self) -> None:
        """Give back the memory that was to be shared."""
        if self._offered is not None:
            self._offered.close()
        self._offered = self._attached = None

    def requests(self, snippets: Iterable[NamedPixels]) -> Iterator[snippets_pb2.ScoreRequest]:
        """Turn the input into requests of `group_size` snippets, of fewer at its end.

        They end with the input or at its first exception; what came before is sent. Where
        there is memory to share the first one offers it; pixels go there from the daemon's
        answer on, and in the messages before.
        """
        if self._offered is not None:
            yield self._attach(self._offered)
        request = self._new_request()
        try:
            for snippet_id, pixels in snippets:
                self._add(request, snippet_id, pixels)
                if len(request.snippets) == self.group_size:
                    yield self._send(request)
                    request = self._new_request()
        except Exception as err:  # noqa: BLE001 -- finish() raises it
            self._input_error = err
        self._input_ended = True
        if request.snippets:
            yield self._send(request)

    async def requests_async(
        self, snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels]
    ) -> AsyncGenerator[snippets_pb2.ScoreRequest, None]:
        """Turn the input into requests, as `requests` does.

        A cancellation inside the input is held back too: nobody else would hear of it.
        """
        if self._offered is not None:
            yield self._attach(self._offered)
        request = self._new_request()
        try:
            async with aclosing(each_of(snippets)) as each:
                async for snippet_id, pixels in each:
                    self._add(request, snippet_id, pixels)
                    if len(request.snippets) == self.group_size:
                        yield self._send(request)
                        request = self._new_request()
        except (Exception, asyncio.CancelledError) as err:  # noqa: BLE001 -- finish() raises it
            self._input_error = err
        self._input_ended = True
        if request.snippets:
            yield self._send(request)

    def settle(self, reply: snippets_pb2.ScoreStreamResponse | StreamEnd) -> Iterator[StreamResult]:
        """Match a reply's results with the oldest snippets that have none.

        Yields:
            Its results; those before a bad one, too.

        Raises:
            BadReply: It has no result, too many, or one that is not for the snippet whose
                turn it is.
            DaemonUnavailable: The stream ended instead; no daemon was there.
            StreamInterrupted: The stream ended instead.
        """
        if isinstance(reply, StreamEnd):
            raise self._interruption(reply)
        if reply.HasField("attachment"):
            self._note(reply.attachment)
        elif not reply.results:
            raise BadReply("the daemon sent a reply without results, expected at least one")
        for result in reply.results:
            yield self._settle_oldest(result)

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
        if self._sent or not self._input_ended or end.code is not grpc.StatusCode.OK:
            raise self._interruption(end)

    def _settle_oldest(self, result: snippets_pb2.SnippetResult) -> StreamResult:
        if not self._sent:
            raise BadReply("the daemon sent more results than it was sent snippets")
        snippet_id, offset = self._sent.popleft()
        settled = from_result(self._model, snippet_id, result, self._reply)
        if offset is not None and self._attached is not None:
            self._attached.release(offset)
        self._answered += 1
        return settled

    def _new_request(self) -> snippets_pb2.ScoreRequest:
        return new_request(self._model, self._urgency, self._reply)

    def _add(
        self,
        request: snippets_pb2.ScoreRequest,
        snippet_id: str,
        pixels: npt.NDArray[np.uint8] | Jpeg,
    ) -> None:
        add_snippet(request, self._model, snippet_id, pixels, memory=self._attached)

    def _attach(self, memory: SnippetMemory) -> snippets_pb2.ScoreRequest:
        return snippets_pb2.ScoreRequest(attach=memory.where)

    def _note(self, attachment: snippets_pb2.Attachment) -> None:
        """Use the offered memory, or give it back."""
        if attachment.refusal:
            logger.debug("pixels are sent: %s", attachment.refusal)
            self.close()
        else:
            self._attached = self._offered

    def _send(self, request: snippets_pb2.ScoreRequest) -> snippets_pb2.ScoreRequest:
        self._sent.extend(
            _Sent(snippet.id, snippet.shared.offset if snippet.HasField("shared") else None)
            for snippet in request.snippets
        )
        return request

    def _interruption(self, end: StreamEnd) -> ClientError:
        if end.code is grpc.StatusCode.UNAVAILABLE and not self._answered:
            return DaemonUnavailable(self._target, end.details)
        return StreamInterrupted(end.code, end.details, self._answered, len(self._sent))


async def each_of(
    snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels],
) -> AsyncGenerator[NamedPixels, None]:
    """Iterate over an input of either kind."""
    if isinstance(snippets, AsyncIterable):
        async for snippet in snippets:
            yield snippet
    else:
        for snippet in snippets:
            yield snippet
