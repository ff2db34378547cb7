"""Reads protos into a flat list of what they declare, each with its comment.

Descriptors keep comments apart, under the path of field numbers that leads to what they are
about (descriptor.proto, SourceCodeInfo); here both come together.
"""

import importlib.resources
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

PROTOS = Path(__file__).parents[1] / "protos"

Declaration = (
    DescriptorProto
    | EnumDescriptorProto
    | EnumValueDescriptorProto
    | FieldDescriptorProto
    | MethodDescriptorProto
    | OneofDescriptorProto
    | ServiceDescriptorProto
)

KINDS: dict[type[Declaration], str] = {
    DescriptorProto: "message",
    EnumDescriptorProto: "enum",
    EnumValueDescriptorProto: "value",
    FieldDescriptorProto: "field",
    MethodDescriptorProto: "rpc",
    OneofDescriptorProto: "oneof",
    ServiceDescriptorProto: "service",
}

# Where declarations hold further ones, in the order in which they are read.
_PARTS = {
    FileDescriptorProto: ("service", "message_type", "enum_type"),
    ServiceDescriptorProto: ("method",),
    DescriptorProto: ("field", "oneof_decl", "nested_type", "enum_type"),
    EnumDescriptorProto: ("value",),
}

_SYNTAX = (FileDescriptorProto.DESCRIPTOR.fields_by_name["syntax"].number,)


@dataclass(frozen=True, slots=True)
class Element:
    """One declaration of a proto.

    Attributes:
        name: Its full name; that of an enum's value has the enum's name in it.
        proto: What was declared.
        comment: What stands before it, else behind it; empty when neither.
        owner: The message, enum or service that it is part of; None at the top of a file.
        file: The file that it is in.
    """

    name: str
    proto: Declaration
    comment: str
    owner: "Element | None"
    file: FileDescriptorProto

    @property
    def kind(self) -> str:
        """What it is, in protobuf's words."""
        return KINDS[type(self.proto)]


def compile_protos(root: Path) -> tuple[FileDescriptorProto, ...]:
    """Compile every proto below a folder, comments included, sorted by path.

    Raises:
        ValueError: When one does not compile; protoc has said why on standard error.
    """
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors"
        arguments = [f"-I{root}", f"-I{well_known}", "--include_source_info"]
        if protoc.main(["protoc", *arguments, f"--descriptor_set_out={output}", *names]):
            raise ValueError(f"{root} does not compile")
        return tuple(FileDescriptorSet.FromString(output.read_bytes()).file)


def file_comment(file: FileDescriptorProto) -> str:
    """Return what stands at the top of a file, before its syntax."""
    return _comments(file).get(_SYNTAX, "")


def elements(files: Sequence[FileDescriptorProto]) -> tuple[Element, ...]:
    """List everything that files declare, owners before their parts."""
    return tuple(
        element
        for file in files
        for element in _parts(file, file, _comments(file), path=(), scope=file.package, owner=None)
    )


def uncommented(declared: Sequence[Element]) -> tuple[str, ...]:
    """Name what has no comment, as `kind name`."""
    return tuple(f"{one.kind} {one.name}" for one in declared if not one.comment)


def _parts(
    of: FileDescriptorProto | Declaration,
    file: FileDescriptorProto,
    comments: dict[tuple[int, ...], str],
    *,
    path: tuple[int, ...],
    scope: str,
    owner: Element | None,
) -> Iterator[Element]:
    for holder in _PARTS.get(type(of), ()):
        number = of.DESCRIPTOR.fields_by_name[holder].number
        for index, proto in enumerate(getattr(of, holder)):
            if _is_made_by_protoc(proto, of):
                continue
            place = (*path, number, index)
            name = f"{scope}.{proto.name}"
            part = Element(name, proto, comments.get(place, ""), owner, file)
            yield part
            yield from _parts(proto, file, comments, path=place, scope=name, owner=part)


def _is_made_by_protoc(proto: Declaration, of: FileDescriptorProto | Declaration) -> bool:
    """Whether nobody wrote it: the entry of a map, or the oneof of an optional field."""
    if isinstance(proto, DescriptorProto):
        return proto.options.map_entry
    if isinstance(proto, OneofDescriptorProto) and isinstance(of, DescriptorProto):
        members = (field for field in of.field if field.HasField("oneof_index"))
        index = list(of.oneof_decl).index(proto)
        return any(field.oneof_index == index and field.proto3_optional for field in members)
    return False


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return comments by the path of what they are about."""
    return {
        tuple(location.path): text
        for location in file.source_code_info.location
        if (text := _unindented(location.leading_comments or location.trailing_comments))
    }


def _unindented(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()
