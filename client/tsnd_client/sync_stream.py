"""One stream over gRPC's threaded API: the input is pulled in the caller's thread.

input ──► outbox ──► gRPC's sending thread ──► daemon ──► reader thread ──► inbox ──► results
"""

import threading
from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Self

import grpc

from tsnd.v1 import snippets_pb2
from tsnd.v1.snippets_pb2_grpc import SnippetServiceStub
from tsnd_client.in_flight import InFlight, NamedPixels, StreamEnd
from tsnd_client.messages import StreamResult
from tsnd_client.outbox import Outbox

_Inbox = SimpleQueue[snippets_pb2.ScoreStreamResponse | StreamEnd]

# How long a snippet waits for company while the caller may be about to give more. Short beside
# every network that we serve, long beside the pulling of a snippet that is there.
_COMPANY_S = 200e-6


def stream_results(
    stub: SnippetServiceStub,
    in_flight: InFlight,
    snippets: Iterable[NamedPixels],
    *,
    max_in_flight: int,
    deadline_s: float | None,
) -> Generator[StreamResult, None, None]:
    """Send snippets and yield their results; `Client.score_stream` tells the rest."""
    sending = _Sending(in_flight.most_together)
    inbox: _Inbox = SimpleQueue()
    call = stub.ScoreStream(sending, timeout=deadline_s)
    reader = threading.Thread(target=_forward, args=(call, inbox), daemon=True)
    reader.start()
    try:
        for request in in_flight.requests(snippets):
            sending.put(request)
            # The next group is pulled only when there is room for all of it.
            while len(in_flight) + in_flight.group_size > max_in_flight or not inbox.empty():
                sending.flush()
                yield from in_flight.settle(inbox.get())
        sending.end()
        while not isinstance(reply := inbox.get(), StreamEnd):
            yield from in_flight.settle(reply)
        in_flight.finish(reply)
    finally:
        call.cancel()
        sending.end()
        reader.join()
        in_flight.close()


class _Sending(Iterator[snippets_pb2.ScoreRequest]):
    """Hands requests to gRPC's thread, which asks for the next one when one has been sent."""

    def __init__(self, most_together: int) -> None:
        self._outbox = Outbox(most_together)
        self._changed = threading.Condition()
        self._is_due = False
        self._has_ended = False

    def put(self, request: snippets_pb2.ScoreRequest) -> None:
        """Let a request be sent, soon."""
        with self._changed:
            self._outbox.put(request)
            self._is_due = False
            # The other thread is not woken for what it would only wait on with.
            if len(self._outbox) == 1 or self._outbox.is_full:
                self._changed.notify()

    def flush(self) -> None:
        """Let all be sent at once: the caller gives nothing more for now."""
        with self._changed:
            self._is_due = True
            self._changed.notify()

    def end(self) -> None:
        """Let the iteration end when all is sent."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> snippets_pb2.ScoreRequest:
        with self._changed:
            self._changed.wait_for(lambda: self._outbox or self._has_ended)
            self._changed.wait_for(self._goes, _COMPANY_S)
            if not self._outbox:
                raise StopIteration
            return self._outbox.take()

    def _goes(self) -> bool:
        return self._outbox.is_full or self._is_due or self._has_ended


def _forward(replies: Iterable[snippets_pb2.ScoreStreamResponse], inbox: _Inbox) -> None:
    """Move a call's replies, then its end, into a queue that can tell whether it is empty."""
    end = StreamEnd()
    try:
        for reply in replies:
            inbox.put(reply)
    except grpc.RpcError as err:
        end = StreamEnd(err.code(), err.details() or "")
    inbox.put(end)
