"""What the generator needs of a protocol: a door to a server, and a lane for each stream."""

from dataclasses import dataclass
from typing import Protocol

from tsnd_client.bench.ledger import Outcome, Ticket
from tsnd_client.bench.streams import Feed


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says about the model; empty where it says nothing.

    Attributes:
        target: HOST:PORT of the server.
        model: Name of the model.
        version: Its version.
        modality: What its snippets are made of.
        snippet_shape: Of a snippet's pixels.
        backend: What runs it.
        precision: fp32, fp16 or int8.
        max_batch_size: Most snippets in an execution; 0 where the server does not say.
    """

    target: str
    model: str
    version: str
    modality: str
    snippet_shape: tuple[int, ...]
    backend: str
    precision: str
    max_batch_size: int


class Sink(Protocol):
    """Who hears what became of snippets."""

    def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """Hear of one snippet of a message."""

    def broken(self, reason: str) -> None:
        """Hear that a lane takes nothing more."""


class Lane(Protocol):
    """One stream to the server."""

    async def send(self, ticket: Ticket) -> None:
        """Hand a message to gRPC; waits while the server does not read. Never raises."""

    async def finish(self, patience_s: float) -> None:
        """Wait for the outcomes that are missing; after a while, give them up."""


class Door(Protocol):
    """A way to a server."""

    served: Served

    async def open_lane(self, feed: Feed, sink: Sink) -> Lane:
        """Begin a stream."""
