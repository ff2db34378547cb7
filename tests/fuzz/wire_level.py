"""Writes protobuf's wire format as no library would; pure functions.

The structure stays in sight, so that most of what comes out is read quite far.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4, START_GROUP: 0, END_GROUP: 0}
_DEPTHS = (1, 10, 99, 100, 101, 1_000, 10_000)  # protobuf stops at 100
_COUNTS = (2, 17, 33, 300, 2_047, 2_049, 5_000)
_MOST_BYTES = 200_000
_VALUES = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBERS = (0, 8, 15, 16, 100, 18_999, 19_000, 2**29 - 1, 2**29, 2**32)
_NO_TEXT = (
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xed\xb3\xbf",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"a\xe2",
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its number, wire type, and value as it is written, without a length."""

    number: int
    kind: int
    value: bytes

    def to_bytes(self) -> bytes:
        """Write it."""
        head = varint(self.number << 3 | self.kind)
        if self.kind == LENGTH:
            head += varint(len(self.value))
        return head + self.value


def varint(value: int) -> bytes:
    """Write a number of variable length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields_of(data: bytes) -> Iterator[Field]:
    """Read the fields of a message up to where it cannot be read."""
    at = 0
    try:
        while at < len(data):
            key, at = _read_varint(data, at)
            kind, begin = key & 7, at
            if kind == VARINT:
                _, at = _read_varint(data, at)
            elif kind == LENGTH:
                length, begin = _read_varint(data, at)
                at = begin + length
            elif kind in _FIXED_BYTES:
                at += _FIXED_BYTES[kind]
            else:
                return
            if at > len(data):
                return
            yield Field(key >> 3, kind, data[begin:at])
    except IndexError:
        return


def miswrite(data: bytes, rng: Random) -> bytes:
    """Miswrite a message, or a message in it."""
    fields = list(fields_of(data))
    if not fields:
        return _unknown(fields, rng)
    at = rng.randrange(len(fields))
    inner = fields[at]
    if inner.kind == LENGTH and inner.value and rng.random() < 0.5:
        fields[at] = replace(inner, value=miswrite(inner.value, rng))
        return _join(fields)
    return rng.choice(_MISTAKES)(fields, rng)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, at


def _join(fields: list[Field]) -> bytes:
    return b"".join(field.to_bytes() for field in fields)


def _around(fields: list[Field], at: int, between: bytes, *, drop: int = 0) -> bytes:
    """Write fields with something else before, or instead of, one of them."""
    return _join(fields[:at]) + between + _join(fields[at + drop :])


def _wrong_type(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields))
    fields[at] = replace(fields[at], kind=rng.randrange(8))
    return _join(fields)


def _wrong_length(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields))
    field, length = fields[at], rng.choice(_VALUES)
    between = varint(field.number << 3 | LENGTH) + varint(length) + field.value
    return _around(fields, at, between, drop=1)


def _endless_varint(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields))
    between = varint(fields[at].number << 3 | VARINT) + b"\xff" * rng.randint(9, 12) + b"\x01"
    return _around(fields, at, between, drop=rng.randrange(2))


def _long_tag(fields: list[Field], rng: Random) -> bytes:
    """Write a tag with more bytes than it needs; protobuf takes that."""
    at = rng.randrange(len(fields))
    written = fields[at].to_bytes()
    return _around(fields, at, bytes((written[0] | 0x80, 0)) + written[1:], drop=1)


def _extreme_value(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields))
    fields[at] = Field(fields[at].number, VARINT, varint(rng.choice(_VALUES)))
    return _join(fields)


def _unknown(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields) + 1)
    kind = rng.choice((VARINT, FIXED64, LENGTH, FIXED32))
    size = rng.randrange(20) if kind == LENGTH else _FIXED_BYTES.get(kind, 1)
    field = Field(rng.choice(_NUMBERS), kind, bytes(size))
    return _around(fields, at, field.to_bytes() * rng.choice((1, 1, 1, *_COUNTS)))


def _groups(fields: list[Field], rng: Random) -> bytes:
    """Open groups in groups, and perhaps close them."""
    number, depth = rng.choice((1, 3, 100)), rng.choice(_DEPTHS)
    opened = varint(number << 3 | START_GROUP) * depth
    closed = varint(number << 3 | END_GROUP) * (depth if rng.random() < 0.7 else depth // 2)
    return _around(fields, rng.randrange(len(fields) + 1), opened + closed)


def _nested(fields: list[Field], rng: Random) -> bytes:
    """Put a field into itself, over and over."""
    at = rng.randrange(len(fields))
    field = fields[at]
    for _ in range(min(rng.choice(_DEPTHS), 2_000)):
        field = Field(field.number, LENGTH, field.to_bytes())
    return _around(fields, at, field.to_bytes(), drop=1)


def _repeated(fields: list[Field], rng: Random) -> bytes:
    at = rng.randrange(len(fields))
    written = fields[at].to_bytes()
    count = min(rng.choice(_COUNTS), _MOST_BYTES // len(written))
    return _around(fields, at, written * count)


def _emptied(fields: list[Field], rng: Random) -> bytes:
    """Repeat a field without its value: messages, strings or bytes by the thousand."""
    at = rng.randrange(len(fields))
    empty = Field(fields[at].number, LENGTH, b"").to_bytes()
    return _around(fields, at, empty * rng.choice(_COUNTS))


def _dropped(fields: list[Field], rng: Random) -> bytes:
    del fields[rng.randrange(len(fields))]
    return _join(fields)


def _shuffled(fields: list[Field], rng: Random) -> bytes:
    rng.shuffle(fields)
    return _join(fields)


def _no_text(fields: list[Field], rng: Random) -> bytes:
    """Write something that is no UTF-8, most likely where a name or an id is."""
    texts = [at for at, f in enumerate(fields) if f.kind == LENGTH and len(f.value) < 64]
    at = rng.choice(texts or range(len(fields)))
    fields[at] = Field(fields[at].number, LENGTH, rng.choice(_NO_TEXT) * rng.randint(1, 3))
    return _join(fields)


_MISTAKES = (
    *(_wrong_type, _wrong_length, _endless_varint, _long_tag, _extreme_value, _unknown, _groups),
    *(_nested, _repeated, _emptied, _dropped, _shuffled, _no_text),
)
