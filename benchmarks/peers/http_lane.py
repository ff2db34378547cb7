"""HTTP/1.1: each message is a POST of raw pixels on a connection that is kept alive.

The same few lines serve every peer that speaks HTTP, and do as little as a client can: the
request is made once, the answer is counted and not looked at.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from tsnd_client.bench.lane import Served, Sink
from tsnd_client.bench.ledger import GIVEN_UP, Answered, Outcome, Refused, Ticket
from tsnd_client.bench.streams import Feed

CONNECTIONS = 64
"""Most of a lane; beyond that, messages wait, as they wait in a stream for flow control."""
_BROKEN = "UNAVAILABLE"
_END_OF_HEAD = b"\r\n\r\n"


class BadReply(Exception):
    """A server sent what is no answer of a length that it names."""


def request(path: str, body: bytes) -> bytes:
    """Write a request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def parse_head(head: bytes) -> tuple[int, int]:
    """Read status and length of the body from a response's head.

    Raises:
        BadReply: It names none.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        key.strip().lower(): value.strip() for key, _, value in (x.partition(":") for x in lines)
    }
    try:
        return int(first.split()[1]), int(headers["content-length"])
    except (IndexError, ValueError, KeyError):
        raise BadReply(f"expected a status and a Content-Length, got {head[:200]!r}") from None


class Connection(asyncio.Protocol):
    """One connection: an answer after a request, and the next request only then."""

    def __init__(self, answered: Callable[["Connection", int, bytes], None]) -> None:
        """Take who hears of answers: this connection, a status (0: it is lost) and the body."""
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._body_at = 0
        self._length = 0
        self._status = 0
        self.ticket: Ticket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but its base class.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, message: bytes) -> None:
        assert self._transport is not None
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._body_at:
            end = self._received.find(_END_OF_HEAD)
            if end < 0:
                return
            try:
                self._status, self._length = parse_head(bytes(self._received[:end]))
            except BadReply:
                self.close()
                return
            self._body_at = end + len(_END_OF_HEAD)
        if len(self._received) >= self._body_at + self._length:
            body = bytes(self._received[self._body_at : self._body_at + self._length])
            self._received.clear()
            self._body_at = 0
            self._answered(self, self._status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered(self, 0, repr(exc).encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class HttpDoor:
    """Opens streams to one server."""

    def __init__(self, port: int, path: str, body: bytes, served: Served) -> None:
        """Take where it listens on this host, and what is sent."""
        self.served = served
        self._port = port
        self._message = request(path, body)

    async def open_lane(self, feed: Feed, sink: Sink) -> "HttpLane":
        """Begin a stream: its own connections, as many as it has messages in flight."""
        if feed.group != 1:
            raise ValueError(f"a request holds one snippet, not {feed.group}")
        return HttpLane(self._port, self._message, sink)


class HttpLane:
    """One stream; a message takes a free connection, or a new one."""

    def __init__(self, port: int, message: bytes, sink: Sink) -> None:
        """Begin without connections."""
        self._port = port
        self._message = message
        self._sink = sink
        self._free: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._finishing = False
        self._idle = asyncio.Event()
        self._busy = 0

    async def send(self, ticket: Ticket) -> None:
        """Write a request; waits for a connection."""
        await self._places.acquire()
        try:
            connection = self._free.popleft() if self._free else await self._connect()
        except OSError as err:
            self._places.release()
            self._sink.settle(ticket, Refused(_BROKEN))
            self._sink.broken(f"the server takes no connection: {err}")
            return
        connection.ticket = ticket
        self._busy += 1
        connection.send(self._message)

    async def finish(self, patience_s: float) -> None:
        """Wait for answers, then close; what has none counts as given up."""
        self._finishing = True
        if self._busy:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience_s)
        for connection in tuple(self._all):
            self._settle(connection, Refused(GIVEN_UP))
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._answered), "127.0.0.1", self._port
        )
        self._all.add(connection)
        return connection

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        if status == 200:
            self._settle(connection, Answered())
            self._free.append(connection)
            return
        self._settle(connection, Refused(str(status) if status else _BROKEN))
        if status:
            self._free.append(connection)
            return
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if not self._finishing:
            self._sink.broken(f"the server closed a connection: {body.decode()}")

    def _settle(self, connection: Connection, outcome: Outcome) -> None:
        ticket, connection.ticket = connection.ticket, None
        if ticket is None:
            return
        self._sink.settle(ticket, outcome)
        self._places.release()
        self._busy -= 1
        if not self._busy:
            self._idle.set()
