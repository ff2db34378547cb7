"""One stream over gRPC's threaded API: the input is pulled in the caller's thread.

input ──► outbox ──► gRPC's sending thread ──► daemon ──► reader thread ──► inbox ──► results
"""

import threading
from collections.abc import Generator, Iterable
from queue import SimpleQueue

import grpc

from tsnd.v1 import snippets_pb2
from tsnd.v1.snippets_pb2_grpc import SnippetServiceStub
from tsnd_client.in_flight import InFlight, NamedPixels, StreamEnd
from tsnd_client.messages import StreamResult

_Inbox = SimpleQueue[snippets_pb2.ScoreStreamResponse | StreamEnd]


def stream_results(
    stub: SnippetServiceStub,
    in_flight: InFlight,
    snippets: Iterable[NamedPixels],
    *,
    max_in_flight: int,
    deadline_s: float | None,
) -> Generator[StreamResult, None, None]:
    """Send snippets and yield their results; `Client.score_stream` tells the rest."""
    outbox: SimpleQueue[snippets_pb2.ScoreRequest | None] = SimpleQueue()
    inbox: _Inbox = SimpleQueue()
    call = stub.ScoreStream(iter(outbox.get, None), timeout=deadline_s)
    reader = threading.Thread(target=_forward, args=(call, inbox), daemon=True)
    reader.start()
    try:
        for request in in_flight.requests(snippets):
            outbox.put(request)
            # The next group is pulled only when there is room for all of it.
            while len(in_flight) + in_flight.group_size > max_in_flight or not inbox.empty():
                yield from in_flight.settle(inbox.get())
        outbox.put(None)
        while not isinstance(reply := inbox.get(), StreamEnd):
            yield from in_flight.settle(reply)
        in_flight.finish(reply)
    finally:
        call.cancel()
        outbox.put(None)
        reader.join()
        in_flight.close()


def _forward(replies: Iterable[snippets_pb2.ScoreStreamResponse], inbox: _Inbox) -> None:
    """Move a call's replies, then its end, into a queue that can tell whether it is empty."""
    end = StreamEnd()
    try:
        for reply in replies:
            inbox.put(reply)
    except grpc.RpcError as err:
        end = StreamEnd(err.code(), err.details() or "")
    inbox.put(end)
