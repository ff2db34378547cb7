"""Triton's gRPC, with messages made once: unary calls, or one stream.

Its own client makes each message anew, which costs the generator more than the server; here it
sends bytes that are there already, as the generator does to tsnd.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from grpc import aio

from tsnd.kserve import inference_pb2 as kserve
from tsnd_client.bench.calls import IndependentCalls
from tsnd_client.bench.lane import Served, Sink
from tsnd_client.bench.ledger import GIVEN_UP, Answered, Outcome, Refused, Ticket
from tsnd_client.bench.streams import Feed

UNARY = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def infer_message(model: str, tensor: str, shape: tuple[int, ...], pixels: bytes) -> bytes:
    """Serialize a request with one snippet."""
    return kserve.ModelInferRequest(
        model_name=model,
        inputs=[
            kserve.ModelInferRequest.InferInputTensor(
                name=tensor, datatype="UINT8", shape=[1, *shape]
            )
        ],
        raw_input_contents=[pixels],
    ).SerializeToString()


class TritonDoor:
    """Opens streams to one server."""

    def __init__(self, target: str, message: bytes, served: Served, *, streaming: bool) -> None:
        """Take where it is, what is sent, and whether in a stream or in calls."""
        self.served = served
        self._target = target
        self._message = message
        self._streaming = streaming

    async def open_lane(self, feed: Feed, sink: Sink) -> "StreamLane | UnaryLane":
        """Begin a stream: a connection of its own."""
        if feed.group != 1:
            raise ValueError(f"a request holds one snippet, not {feed.group}")
        lane = StreamLane if self._streaming else UnaryLane
        return lane(self._target, self._message, sink)


class UnaryLane:
    """Calls that are independent of each other, on one connection."""

    def __init__(self, target: str, message: bytes, sink: Sink) -> None:
        """Prepare its calls."""
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        self._infer: Any = self._channel.unary_unary(UNARY)
        self._message = message
        self._sink = sink
        self._calls = IndependentCalls()

    async def send(self, ticket: Ticket) -> None:
        """Begin a call."""
        self._calls.begin(self._call(ticket))

    async def finish(self, patience_s: float) -> None:
        """Wait for the calls, then cancel those that are left."""
        await self._calls.finish(patience_s)
        await self._channel.close()

    async def _call(self, ticket: Ticket) -> None:
        outcome: Outcome = Answered()
        try:
            await self._infer(self._message)
        except aio.AioRpcError as err:
            outcome = Refused(err.code().name)
        except asyncio.CancelledError:
            outcome = Refused(GIVEN_UP)
        self._sink.settle(ticket, outcome)


class StreamLane:
    """One stream. All requests are alike, so which answer is whose only moves equal ones about."""

    def __init__(self, target: str, message: bytes, sink: Sink) -> None:
        """Begin a call."""
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        self._call: Any = self._channel.stream_stream(STREAM)()
        self._message = message
        self._sink = sink
        self._waiting: deque[Ticket] = deque()
        self._finishing = False
        self._reader = asyncio.create_task(self._read())

    async def send(self, ticket: Ticket) -> None:
        """Hand the message to gRPC; waits while the server does not read."""
        if self._reader.done():
            self._sink.settle(ticket, Refused("UNAVAILABLE"))
            return
        self._waiting.append(ticket)
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(self._message)

    async def finish(self, patience_s: float) -> None:
        """Wait for answers, then cancel the call; what has none counts as given up."""
        self._finishing = True
        try:
            async with asyncio.timeout(patience_s):
                await self._call.done_writing()
                await asyncio.shield(self._reader)
        except (TimeoutError, aio.AioRpcError, asyncio.InvalidStateError):
            pass
        finally:
            self._call.cancel()
            await self._reader
            await self._channel.close()

    async def _read(self) -> None:
        end = "OK"
        try:
            while (reply := await self._call.read()) is not aio.EOF:
                # An error, where there is one, is field 1 and comes first.
                failed = reply[:1] == b"\x0a"
                ticket = self._waiting.popleft()
                self._sink.settle(ticket, Refused("INTERNAL") if failed else Answered())
        except aio.AioRpcError as err:
            end = err.code().name
        except asyncio.CancelledError:
            end = GIVEN_UP
        while self._waiting:
            self._sink.settle(self._waiting.popleft(), Refused(end))
        if not self._finishing:
            self._sink.broken(f"the server ended a stream with {end}")
