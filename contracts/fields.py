"""Says of a field what its descriptor spreads over several places: type, label, oneof."""

from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from contracts.elements import Element

_NAMED_TYPES = (
    FieldDescriptorProto.TYPE_MESSAGE,
    FieldDescriptorProto.TYPE_ENUM,
    FieldDescriptorProto.TYPE_GROUP,
)


@dataclass(frozen=True, slots=True)
class FieldShape:
    """What a field is, as its declaration says it.

    Attributes:
        number: Its number on the wire.
        types: Names of its types: one, or a map's key and value.
        label: singular, optional, repeated, required or map.
        oneof: Short name of the oneof that it is in; empty for none.
        default: The default that proto2 may name; empty for none.
    """

    number: int
    types: tuple[str, ...]
    label: str
    oneof: str
    default: str


def shape_of(element: Element) -> FieldShape:
    """Describe a field."""
    field, message = element.proto, element.owner and element.owner.proto
    assert isinstance(field, FieldDescriptorProto)
    assert isinstance(message, DescriptorProto)
    entry = _map_entry(field, message)
    is_in_oneof = field.HasField("oneof_index") and not field.proto3_optional
    return FieldShape(
        number=field.number,
        types=tuple(map(_type_name, entry.field)) if entry else (_type_name(field),),
        label="map" if entry else _label(field, is_proto2=element.file.syntax != "proto3"),
        oneof=message.oneof_decl[field.oneof_index].name if is_in_oneof else "",
        default=field.default_value,
    )


def _map_entry(field: FieldDescriptorProto, message: DescriptorProto) -> DescriptorProto | None:
    """Return the message that protoc makes for the entries of a map."""
    name = field.type_name.rpartition(".")[2]
    entries = (
        nested for nested in message.nested_type if nested.options.map_entry and nested.name == name
    )
    return next(entries, None)


def _label(field: FieldDescriptorProto, *, is_proto2: bool) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated"
    if field.label == FieldDescriptorProto.LABEL_REQUIRED:
        return "required"
    has_presence_of_its_own = field.proto3_optional or (
        is_proto2 and not field.HasField("oneof_index")
    )
    return "optional" if has_presence_of_its_own else "singular"


def _type_name(field: FieldDescriptorProto) -> str:
    if field.type in _NAMED_TYPES:
        return field.type_name.removeprefix(".")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
