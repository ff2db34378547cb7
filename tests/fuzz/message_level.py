"""Gives the fields of a message values that nobody expects, whatever its type; pure functions."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzz.jpegs import damage_jpeg, is_jpeg

_COUNTS = (1, 2, 16, 17, 300, 3_000)
_DEEPEST = 6
_KINDS = FieldDescriptor
_EDGES = (
    0,
    1,
    2,
    3,
    7,
    15,
    16,
    17,
    21,
    36,
    40,
    256,
    3_360,
    4_320,
    61_216,
    65_536,
    2**31 - 1,
    2**31,
)
_RANGES: dict[int, tuple[int, int]] = {
    _KINDS.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _KINDS.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    _KINDS.CPPTYPE_UINT32: (0, 2**32 - 1),
    _KINDS.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _KINDS.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_FLOATS = (0.0, -0.0, 1.0, -1e300, 1e-310, math.inf, -math.inf, math.nan)


def edit(message: Message, words: Sequence[str], rng: Random) -> bytes:
    """Edit a message once to three times; returns it serialized.

    Args:
        message: Changed in place.
        words: For its strings.
        rng: Decides.
    """
    for _ in range(rng.randint(1, 3)):
        _edit_once(message, words, rng, 0)
    return message.SerializeToString()


def _edit_once(message: Message, words: Sequence[str], rng: Random, depth: int) -> None:
    """Edit one field, of the message or of one in it: of those that are set, mostly."""
    fields: Any = message.DESCRIPTOR.fields
    present = [field for field, _ in message.ListFields()]
    if not fields or depth > _DEEPEST:
        return
    field = rng.choice(present if present and rng.random() < 0.7 else fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _edit_map(message, field, words, rng)
    elif field.is_repeated:
        _edit_repeated(message, field, words, rng, depth)
    elif field.message_type is not None:
        _edit_submessage(message, field, words, rng, depth)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), words, rng))


def _edit_submessage(
    message: Message, field: FieldDescriptor, words: Sequence[str], rng: Random, depth: int
) -> None:
    inner: Message = getattr(message, field.name)
    match rng.randrange(8):
        case 0:
            message.ClearField(field.name)
        case 1:
            inner.Clear()
            inner.SetInParent()
        case _:
            inner.SetInParent()
            _edit_once(inner, words, rng, depth + 1)


def _edit_repeated(
    message: Message, field: FieldDescriptor, words: Sequence[str], rng: Random, depth: int
) -> None:
    items: Any = getattr(message, field.name)
    match rng.randrange(8):
        case 0:
            message.ClearField(field.name)
        case 1 if items:
            del items[rng.randrange(len(items))]
        case 2 if items:
            last = items[len(items) - 1]
            items.extend([last] * _count(last, rng))
        case 3 if field.message_type is None:
            items.append(_value(field, field.default_value or None, words, rng))
        case 4 if field.message_type is None:
            value = _value(field, None, words, rng)
            items.extend([value] * _count(value, rng))
        case _ if field.message_type is not None:
            if not items:
                items.add()
            _edit_once(items[rng.randrange(len(items))], words, rng, depth + 1)
        case _ if items:
            at = rng.randrange(len(items))
            items[at] = _value(field, items[at], words, rng)


def _count(item: Any, rng: Random) -> int:
    """Say how often something is repeated, so that the message stays below some 200 KB."""
    size = item.ByteSize() if isinstance(item, Message) else len(item) if _is_sized(item) else 1
    return min(rng.choice(_COUNTS), 200_000 // (size + 1))


def _is_sized(item: Any) -> bool:
    return isinstance(item, str | bytes)


def _edit_map(message: Message, field: FieldDescriptor, words: Sequence[str], rng: Random) -> None:
    entries: Any = getattr(message, field.name)
    assert field.message_type is not None
    key_field, value_field = field.message_type.fields
    key = _value(key_field, None, words, rng)
    if value_field.message_type is None:
        entries[key] = _value(value_field, None, words, rng)
    else:
        _edit_once(entries[key], words, rng, _DEEPEST)


def _value(field: FieldDescriptor, old: Any, words: Sequence[str], rng: Random) -> Any:
    """Make up a value for a field without fields."""
    kind = field.cpp_type
    if kind == _KINDS.CPPTYPE_STRING:
        return _octets(old or b"", rng) if field.type == _KINDS.TYPE_BYTES else rng.choice(words)
    if kind == _KINDS.CPPTYPE_BOOL:
        return not old
    if kind in (_KINDS.CPPTYPE_FLOAT, _KINDS.CPPTYPE_DOUBLE):
        return rng.choice(_FLOATS)
    low, high = _RANGES[kind]
    near = (old or 0) + rng.choice((-1, 1))
    value = rng.choice((low, low + 1, high, high - 1, near, near, *_EDGES, -1))
    return min(max(value, low), high)


def _octets(old: bytes, rng: Random) -> bytes:
    """Make up other bytes, of another size mostly."""
    if is_jpeg(old) and rng.random() < 0.9:
        return damage_jpeg(old, rng)
    return rng.choice(_RESIZED)(old, rng)


_RESIZED: tuple[Callable[[bytes, Random], bytes], ...] = (
    lambda _old, _rng: b"",
    lambda old, _rng: old[:-1],
    lambda old, _rng: old + b"\0",
    lambda old, _rng: old * 2,
    lambda old, rng: rng.randbytes(len(old)),
    lambda _old, rng: rng.randbytes(rng.randrange(6_000)),
    lambda _old, _rng: bytes(100_000),
)
