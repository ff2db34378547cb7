"""The native API: each stream is a ScoreStream call on a connection of its own, like a camera."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import grpc
from grpc import aio

from tsnd.v1 import snippets_pb2
from tsnd_client.async_stream import to_end
from tsnd_client.bench.lane import Served, Sink
from tsnd_client.bench.ledger import GIVEN_UP, Answered, Outcome, Refused, Ticket
from tsnd_client.bench.payloads import (
    Payload,
    Pixels,
    attach_message,
    natural_jpeg,
    random_pixels,
    score_message,
    snippet_name,
)
from tsnd_client.bench.streams import Feed
from tsnd_client.client import AsyncClient
from tsnd_client.connection import to_connection
from tsnd_client.errors import InputError
from tsnd_client.jpeg import Jpeg
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.reply import EVERYTHING, Reply
from tsnd_client.shared_memory import SnippetMemory, is_on_this_host, make_memory

_METHOD = "/tsnd.v1.SnippetService/ScoreStream"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # Channels with the same options share a connection otherwise.
    ("grpc.use_local_subchannel_pool", 1),
)
_STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a load scores, and what for.

    Attributes:
        target: HOST:PORT of the daemon.
        model: Name of the model, or of a two-stream pair.
        modality: Which model of a pair.
        payload: How pixels get to the daemon.
        reply: What results hold.
        largest_group: Most snippets in a message.
    """

    target: str
    model: str
    modality: Modality | None = None
    payload: Payload = Payload.RAW
    reply: Reply = EVERYTHING
    largest_group: int = 1


@asynccontextmanager
async def open_native(asked: Asked) -> AsyncIterator["NativeDoor"]:
    """Ask the daemon for the model, and make what is sent.

    Raises:
        InputError: The daemon cannot be loaded so; the message says what can.
        ClientError: It did not answer.
    """
    async with AsyncClient(asked.target) as client:
        model = await client.model(asked.model, asked.modality)
    _require_possible(asked, model)
    memory = _memory(asked, model)
    try:
        yield NativeDoor(asked, model, _snippets(asked, model), memory)
    finally:
        if memory:
            memory.close()


class NativeDoor:
    """Opens streams to one daemon for one model."""

    def __init__(
        self,
        asked: Asked,
        model: ModelInfo,
        snippets: list[Pixels | Jpeg],
        memory: SnippetMemory | None,
    ) -> None:
        """Take what is sent.

        Args:
            asked: What the load is for.
            model: What the daemon says about it.
            snippets: As many as the largest group has.
            memory: To share with the daemon, with as many places.
        """
        self.served = _describe(asked, model)
        self._asked = asked
        self._model = model
        self._snippets = snippets
        self._memory = memory
        self._messages: dict[Feed, bytes] = {}

    async def open_lane(self, feed: Feed, sink: Sink) -> "NativeLane":
        """Begin a stream.

        Raises:
            InputError: The daemon does not take the memory that would be shared.
        """
        lane = NativeLane(self._asked.target, self._message(feed), sink)
        if self._memory:
            await lane.attach(attach_message(self._memory))
        return lane.start()

    def _message(self, feed: Feed) -> bytes:
        """Return the stream's message; streams that are alike share one."""
        kind = replace(feed, index=0)
        if kind not in self._messages:
            self._messages[kind] = score_message(
                self._model,
                self._snippets[: feed.group],
                priority=feed.priority,
                timeout_ms=feed.timeout_ms,
                reply=self._asked.reply,
                memory=self._memory,
            )
        return self._messages[kind]


class NativeLane:
    """One stream; the daemon answers in the order in which snippets were sent."""

    def __init__(self, target: str, message: bytes, sink: Sink) -> None:
        """Prepare a call; it is made by the first message."""
        connection = to_connection(target)
        self._channel = connection.open_async(_OPTIONS)
        self._call: Any = self._channel.stream_stream(
            _METHOD, response_deserializer=snippets_pb2.ScoreStreamResponse.FromString
        )(metadata=connection.metadata)
        # One iterator for all: gRPC forbids to read in two ways.
        self._replies: AsyncIterator[snippets_pb2.ScoreStreamResponse] = aiter(self._call)
        self._message = message
        self._sink = sink
        self._waiting: deque[Ticket] = deque()
        self._place = 0
        self._end: str | None = None
        self._finishing = False
        self._reader: asyncio.Task[None] | None = None

    async def attach(self, message: bytes) -> None:
        """Offer memory to the daemon, before all else.

        Raises:
            InputError: It does not take it.
        """
        try:
            await self._call.write(message)
            refusal = (await anext(self._replies)).attachment.refusal
        except aio.AioRpcError as err:
            refusal = err.details() or err.code().name
        except StopAsyncIteration:
            refusal = "the stream ended"
        if refusal:
            await self._channel.close()
            raise InputError(
                f"the daemon does not share memory with this process: {refusal.rstrip('.')}. Use "
                "--payload raw."
            )

    def start(self) -> Self:
        """Begin to read."""
        self._reader = asyncio.create_task(self._read())
        return self

    async def send(self, ticket: Ticket) -> None:
        """Hand the message to gRPC; waits while the daemon does not read."""
        if self._end is not None:
            self._settle_all(ticket, Refused(self._end))
            return
        self._waiting.append(ticket)
        # The reader hears how the call ended, and settles what waits.
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(self._message)

    async def finish(self, patience_s: float) -> None:
        """Wait for answers, then cancel the call; what has none counts as given up."""
        assert self._reader is not None
        self._finishing = True
        try:
            async with asyncio.timeout(patience_s):
                if self._end is None:
                    await self._call.done_writing()
                await asyncio.shield(self._reader)
        except (TimeoutError, aio.AioRpcError, asyncio.InvalidStateError):
            pass
        finally:
            self._call.cancel()
            await self._reader
            await self._channel.close()

    async def _read(self) -> None:
        """Settle what is answered, and with the call's end what is not."""
        end, details = "OK", "it ended the stream"
        try:
            async for reply in self._replies:
                for result in reply.results:
                    self._settle_oldest(result)
        except aio.AioRpcError as err:
            status = to_end(err.code(), err.details() or "")
            end, details = status.code.name, status.details
        except asyncio.CancelledError:
            # By us: the run is over, and so was its patience.
            end, self._finishing = GIVEN_UP, True
        except _BadReply as err:
            end, details = "UNKNOWN", str(err)
            self._call.cancel()
        self._end = end
        while self._waiting:
            self._settle_all(self._waiting.popleft(), Refused(end))
        if not self._finishing:
            self._sink.broken(f"the daemon ended a stream with {end}: {details}")

    def _settle_oldest(self, result: snippets_pb2.SnippetResult) -> None:
        if not self._waiting:
            raise _BadReply("it sent more results than it was sent snippets")
        ticket = self._waiting[0]
        snippet_id, outcome = to_outcome(result)
        if snippet_id != snippet_name(self._place):
            raise _BadReply(f"result of {snippet_id!r}, expected {snippet_name(self._place)!r}")
        self._place += 1
        self._sink.settle(ticket, outcome)
        if ticket.left == 0:
            self._waiting.popleft()
            self._place = 0

    def _settle_all(self, ticket: Ticket, outcome: Outcome) -> None:
        while ticket.left:
            self._sink.settle(ticket, outcome)


class _BadReply(Exception):
    """The daemon broke the contract."""


def to_outcome(result: snippets_pb2.SnippetResult) -> tuple[str, Outcome]:
    """Convert one result to its snippet's id and what became of it."""
    if result.HasField("error"):
        code = _STATUS_NAMES.get(result.error.code, f"code {result.error.code}")
        return result.error.snippet_id, Refused(code)
    timing = result.response.timing
    return result.response.snippet_id, Answered(
        timing.queue_ns, timing.compute_ns, timing.batch_size
    )


def _require_possible(asked: Asked, model: ModelInfo) -> None:
    if asked.largest_group > model.max_group_size:
        raise InputError(
            f"a group of {asked.largest_group} is more than the {model.max_group_size} snippets "
            "that this daemon takes in a message: lower --group, or raise its --max-group-size."
        )
    unknown = set(asked.reply.outputs) - {output.name for output in model.outputs}
    if unknown:
        raise InputError(
            f"model {model.name!r} has no output {', '.join(sorted(unknown))}; it has "
            f"{', '.join(output.name for output in model.outputs)}."
        )
    if asked.payload is Payload.SHARED and not (
        model.shared_memory and is_on_this_host(asked.target)
    ):
        raise InputError(
            f"the daemon at {asked.target} does not share memory with this host. Use --payload raw."
        )


def _memory(asked: Asked, model: ModelInfo) -> SnippetMemory | None:
    """Make memory for one group; all streams share it, because nobody writes to it any more."""
    if asked.payload is not Payload.SHARED:
        return None
    memory = make_memory(model.snippet_shape, asked.largest_group)
    if memory is None:
        raise InputError("this system has no memory to share. Use --payload raw.")
    return memory


def _snippets(asked: Asked, model: ModelInfo) -> list[Pixels | Jpeg]:
    if asked.payload is Payload.JPEG:
        return [natural_jpeg(model, seed) for seed in range(asked.largest_group)]
    return [random_pixels(model.snippet_shape, seed) for seed in range(asked.largest_group)]


def _describe(asked: Asked, model: ModelInfo) -> Served:
    return Served(
        target=asked.target,
        model=model.name,
        version=str(model.version),
        modality=model.modality,
        snippet_shape=model.snippet_shape,
        backend=model.backend,
        precision=model.precision,
        max_batch_size=model.max_batch_size,
    )
