"""What a fuzzer finds: the methods of a daemon, whichever they are, and memory it can share.

Everything about a call follows from this, a seed and a number, see calls.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

RGB_SHAPE, FLOW_SHAPE = (40, 36, 3), (10, 16, 21)
RGB_BYTES, FLOW_BYTES = 40 * 36 * 3, 10 * 16 * 21
"""One more and one less than 4 KiB: shorter messages are read in another way."""
MODELS = ("tiny_flow", "tiny_rgb")
"""Models that are always served."""
PAIR = "tiny"
SPARE = "tiny_spare"
"""A model that may be loaded and unloaded; it takes rgb."""

REGION = Random("region").randbytes(64 * 1024)
"""What is in all shared memory here."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of some service.

    Attributes:
        path: /package.Service/Method.
        request: The class of its requests.
        response: The class of its responses.
        client_streaming: Whether it takes several of them.
        server_streaming: Whether it may answer several times.
    """

    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool = False
    server_streaming: bool = False

    @property
    def name(self) -> str:
        """Service and method without the package."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fuzzer is.

    Attributes:
        methods: By path.
        region_key: Name of a shared memory object that holds `REGION`; other names of the
            same run begin with it.
        process_id: Of the process that holds `REGION` in sealed memory of the same name.
        descriptor: As what it holds that.
    """

    methods: tuple[Method, ...]
    region_key: str
    process_id: int = 0
    descriptor: int = 0

    @property
    def written_key(self) -> str:
        """Name of shared memory to which requests may have outputs written."""
        return f"{self.region_key}-written"

    @property
    def by_path(self) -> dict[str, Method]:
        """The methods by their paths."""
        return {method.path: method for method in self.methods}


def methods_of(services: Iterable[ServiceDescriptor]) -> tuple[Method, ...]:
    """List the methods of some services, by path."""
    found = [_to_method(method) for service in services for method in service.methods]
    return tuple(sorted(found, key=lambda method: method.path))


def discover(target: str) -> tuple[Method, ...]:
    """Ask a daemon for its methods, by reflection."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        return methods_of(pool.FindServiceByName(name) for name in database.get_services())


def _to_method(method: MethodDescriptor) -> Method:
    typed: Any = method  # the stubs lack whether it streams
    return Method(
        f"/{method.containing_service.full_name}/{method.name}",
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
        typed.client_streaming,
        typed.server_streaming,
    )
