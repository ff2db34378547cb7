"""The little of protobuf's wire format that is read and written here by hand."""

import functools

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types."""


class MalformedWire(ValueError):
    """Bytes that are no message, or one that is not read by hand."""


def tag(field_number: int) -> int:
    """Return the tag of a field with a length; one byte, for numbers up to 15."""
    return field_number << 3 | LENGTH


@functools.lru_cache(maxsize=4096)  # the same few sizes come over and over
def with_length(field_number: int, size: int) -> bytes:
    """Return what stands before so many bytes of a field."""
    return bytes((tag(field_number),)) + _to_varint(size)


def _to_varint(value: int) -> bytes:
    """Write a number of variable length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; returns it and where it ends.

    Raises:
        IndexError: When the data end within it.
        MalformedWire: When it is too long.
    """
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise MalformedWire("a number of more than ten bytes")


def skip_field(data: bytes, at: int) -> int:
    """Return where the field ends that begins at a place.

    Raises:
        IndexError: When the data end within its head.
        MalformedWire: When it is of a type that only protobuf reads.
    """
    key = data[at]
    kind = key & 7
    # Nearly every field is like this: a tag of one byte, and a value or length of one.
    if key < 0x80 and kind in (VARINT, LENGTH) and (value := data[at + 1]) < 0x80:
        return at + 2 if kind == VARINT else at + 2 + value
    begin, (key, at) = at, read_varint(data, at)
    if key < 0x80 and at - begin > 1:
        raise MalformedWire("a tag that is longer than it need be")
    match key & 7:
        case 0:
            return read_varint(data, at)[1]
        case 2:
            length, at = read_varint(data, at)
            return at + length
        case 1:
            return at + 8
        case 5:
            return at + 4
    raise MalformedWire(f"wire type {key & 7}")
