"""The contract as it has been promised: one line for each thing that must not change.

Lines instead of descriptors, so that a reviewer sees in a diff what a change promises anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    MethodDescriptorProto,
)

from contracts.elements import PROTOS, Element
from contracts.fields import shape_of

FILE = PROTOS / "contract.txt"

# What is part of something else, and gone with it.
PARTS = ("field", "value", "rpc")

_HEADER = """\
# What the protos have promised, one line each; see docs/compatibility.md.
# `make protos` adds to it. What breaks it is refused, unless `make protos-break` says why.
"""
_BROKEN = "# broken: "


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that must stay as it is.

    Attributes:
        kind: message, field, enum, value, service, rpc or reserved.
        name: Full name of what it is about.
        facts: What must stay, by name, in the order in which they are written.
    """

    kind: str
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Full name of what it is part of."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All promises, and why former ones were broken."""

    promises: tuple[Promise, ...]
    broken: tuple[str, ...] = ()


def to_promises(declared: Sequence[Element]) -> tuple[Promise, ...]:
    """Work out what protos promise; oneofs are a fact of their fields."""
    return tuple(promise for element in declared for promise in _promises_of(element))


def parse(text: str) -> Snapshot:
    """Read a snapshot; the inverse of `to_text`."""
    lines = text.splitlines()
    return Snapshot(
        promises=tuple(_parse_line(line) for line in lines if line and not line.startswith("#")),
        broken=tuple(line.removeprefix(_BROKEN) for line in lines if line.startswith(_BROKEN)),
    )


def to_text(snapshot: Snapshot) -> str:
    """Write a snapshot, sorted, so that a diff shows what is new and nothing else."""
    broken = (f"{_BROKEN}{reason}" for reason in snapshot.broken)
    return _HEADER + "".join(f"{line}\n" for line in [*broken, *_lines(snapshot.promises)])


def load(path: Path = FILE) -> Snapshot:
    """Read the snapshot of a file; one that is not there has promised nothing."""
    return parse(path.read_text()) if path.exists() else Snapshot(())


def _promises_of(element: Element) -> Iterator[Promise]:
    proto = element.proto
    if isinstance(proto, FieldDescriptorProto):
        yield Promise("field", element.name, _field_facts(element))
    elif isinstance(proto, EnumValueDescriptorProto):
        yield Promise("value", element.name, {"number": str(proto.number)})
    elif isinstance(proto, MethodDescriptorProto):
        yield Promise("rpc", element.name, _rpc_facts(proto))
    elif element.kind != "oneof":
        yield Promise(element.kind, element.name)
    if isinstance(proto, DescriptorProto | EnumDescriptorProto):
        yield from _reserved(element.name, proto)


def _field_facts(element: Element) -> dict[str, str]:
    shape = shape_of(element)
    facts = {
        "number": str(shape.number),
        "type": ",".join(shape.types),
        "label": shape.label,
        "oneof": shape.oneof,
        "default": shape.default,
    }
    return {name: value for name, value in facts.items() if value}


def _rpc_facts(rpc: MethodDescriptorProto) -> dict[str, str]:
    return {
        "request": rpc.input_type.removeprefix("."),
        "response": rpc.output_type.removeprefix("."),
        "requests": "stream" if rpc.client_streaming else "one",
        "responses": "stream" if rpc.server_streaming else "one",
    }


def _reserved(name: str, proto: DescriptorProto | EnumDescriptorProto) -> Iterator[Promise]:
    """Promise that what is reserved stays so: each name, and each range of numbers."""
    for reserved in proto.reserved_name:
        yield Promise("reserved", f"{name}.{reserved}")
    # Ranges of messages end before their end, those of enums with it (descriptor.proto).
    beyond = 1 if isinstance(proto, DescriptorProto) else 0
    for numbers in proto.reserved_range:
        facts = {"first": str(numbers.start), "last": str(numbers.end - beyond)}
        yield Promise("reserved", f"{name}.", facts)


def _lines(promises: Iterable[Promise]) -> Iterator[str]:
    for promise in sorted(promises, key=_place):
        facts = (f"{name}={quote(value, safe=',')}" for name, value in promise.facts.items())
        yield " ".join((promise.kind, promise.name, *facts))


def _place(promise: Promise) -> tuple[str, int, str]:
    """Say where a line goes: what has numbers in their order, below what it is part of."""
    if promise.kind in PARTS:
        return promise.owner, int(promise.facts.get("number", 0)), promise.name
    return promise.name, -1, promise.kind


def _parse_line(line: str) -> Promise:
    kind, name, *facts = line.split(" ")
    pairs = (fact.partition("=") for fact in facts)
    return Promise(kind, name, {key: unquote(value) for key, _, value in pairs})
