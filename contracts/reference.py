"""Writes the reference of the API: what protos declare and say about it, as Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    EnumValueDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)

from contracts.elements import Element, elements, file_comment
from contracts.fields import FieldShape, shape_of

# What a client meets first; others follow by their path, those without services last.
_FIRST = ("tsnd/v1/snippets.proto", "tsnd/v1/control.proto", "tsnd/v1/model.proto")


def reference(files: Sequence[FileDescriptorProto]) -> str:
    """Write a section for each file."""
    ordered = sorted(files, key=_place)
    links = {one.name: _link(one) for one in elements(files)}
    return "\n".join(line for file in ordered for line in _section(file, links))


def anchor(heading: str) -> str:
    """Return where a heading can be linked to: as GitHub makes it of the heading's text."""
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _place(file: FileDescriptorProto) -> tuple[int, bool, str]:
    rank = _FIRST.index(file.name) if file.name in _FIRST else len(_FIRST)
    return rank, not file.service, file.name


def _section(file: FileDescriptorProto, links: Mapping[str, str]) -> Iterator[str]:
    declared = elements([file])
    yield f"## {file.name}"
    yield ""
    yield file_comment(file)
    yield ""
    for kind, write in (("service", _service), ("message", _message), ("enum", _enum)):
        for one in declared:
            if one.kind == kind:
                yield f"### {one.name}"
                yield ""
                yield one.comment
                yield ""
                yield from write([part for part in declared if part.owner is one], links)


def _service(parts: Sequence[Element], links: Mapping[str, str]) -> Iterator[str]:
    for rpc in parts:
        assert isinstance(rpc.proto, MethodDescriptorProto)
        request = _streamed(rpc.proto.input_type, links, rpc.proto.client_streaming)
        response = _streamed(rpc.proto.output_type, links, rpc.proto.server_streaming)
        yield f"**{rpc.proto.name}** ({request}) returns ({response})"
        yield ""
        yield rpc.comment
        yield ""


def _message(parts: Sequence[Element], links: Mapping[str, str]) -> Iterator[str]:
    fields = [(part, shape_of(part)) for part in parts if part.kind == "field"]
    if not fields:
        return
    yield "| number | type | name | meaning |"
    yield "|---|---|---|---|"
    for part, shape in fields:
        yield _row(str(shape.number), _type(shape, links), _code(part), _field_text(part, shape))
    yield ""
    for part in parts:
        if part.kind == "oneof":
            members = ", ".join(
                _code(one) for one, shape in fields if shape.oneof == part.proto.name
            )
            yield f"One of {members} at most is set, as `{part.proto.name}`: {part.comment}"
            yield ""


def _enum(parts: Sequence[Element], _links: Mapping[str, str]) -> Iterator[str]:
    yield "| number | name | meaning |"
    yield "|---|---|---|"
    for part in parts:
        assert isinstance(part.proto, EnumValueDescriptorProto)
        yield _row(str(part.proto.number), _code(part), part.comment)
    yield ""


def _type(shape: FieldShape, links: Mapping[str, str]) -> str:
    names = [_linked(name, links) for name in shape.types]
    if shape.label == "map":
        return f"map of {names[0]} to {names[1]}"
    return names[0] if shape.label == "singular" else f"{shape.label} {names[0]}"


def _field_text(part: Element, shape: FieldShape) -> str:
    default = f" Default {shape.default}." if shape.default else ""
    return part.comment + default


def _streamed(type_name: str, links: Mapping[str, str], is_stream: bool) -> str:
    return ("stream of " if is_stream else "") + _linked(type_name.removeprefix("."), links)


def _link(one: Element) -> str:
    return f"[{one.name.removeprefix(f'{one.file.package}.')}]({anchor(one.name)})"


def _linked(name: str, links: Mapping[str, str]) -> str:
    """Link to a type, unless it is a scalar or of others."""
    return links.get(name, f"`{name}`")


def _code(part: Element) -> str:
    return f"`{part.proto.name}`"


def _row(*cells: str) -> str:
    """Put texts of several lines into one row of a table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"
