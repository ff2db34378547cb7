"""Reads a ScoreRequest without copying its pixels.

protobuf copies a bytes field twice, into its arena and out of it again: for a frame of
150 KB that is most of what reading costs. So the pixels are cut out of the message as views,
and protobuf parses what is left. Whatever is not as our clients write it is parsed by
protobuf alone, which is the judge of it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.wire.encoding import (
    MalformedWire,
    read_varint,
    skip_field,
    tag,
    with_length,
)

_SNIPPETS_NUMBER = snippets_pb2.ScoreRequest.SNIPPETS_FIELD_NUMBER
_SNIPPETS, _RAW = tag(_SNIPPETS_NUMBER), tag(snippets_pb2.Snippet.RAW_FIELD_NUMBER)
_ELSEWHERE = (
    tag(snippets_pb2.Snippet.JPEG_FIELD_NUMBER),
    tag(snippets_pb2.Snippet.SHARED_FIELD_NUMBER),
)
_WITH_LENGTH = {tag(number) for number in range(1, 16)}
_ONE_BYTE = 0x80
_MOST_FIELDS, _MOST_SNIPPET_FIELDS = 2_048, 32
"""Of a message, and of each snippet in it; two million would hold up the event loop for
seconds."""
_SMALL_BYTES = 64 * 1024
_FEW_BYTES = 4096

Buffer = memoryview | bytes


@dataclass(slots=True)
class Request:
    """A request as it is accepted.

    Attributes:
        message: All but the pixels; None when it cannot be read.
        pixels: The bytes of each snippet's `raw`; None where it has none.
        received_ns: When it began to be read, monotonic nanoseconds.
    """

    message: snippets_pb2.ScoreRequest | None
    pixels: Sequence[Buffer | None] = ()
    received_ns: int = field(default=0, compare=False)


class _TooManyFields(Exception):
    """More than any client of ours sends."""


def readable(request: Request) -> snippets_pb2.ScoreRequest:
    """Return a request's message; raises InvalidSnippet when it could not be read."""
    if request.message is None:
        raise InvalidSnippet(
            f"the message is no ScoreRequest: it does not parse, or has over {_MOST_FIELDS} fields."
        )
    return request.message


def parse_request(data: bytes, *, few_bytes: int = _FEW_BYTES) -> Request:
    """Read a ScoreRequest; never raises.

    Args:
        data: The message.
        few_bytes: So short a message has no pixels of which a copy would cost anything.
    """
    received_ns = time.monotonic_ns()
    request = _read(data, few_bytes)
    request.received_ns = received_ns
    return request


def _read(data: bytes, few_bytes: int) -> Request:
    if len(data) <= few_bytes:
        return _by_protobuf(data)
    try:
        return _without_copy(data)
    except _TooManyFields:
        return Request(None)
    except (MalformedWire, IndexError, DecodeError):
        return _by_protobuf(data)


def _by_protobuf(data: bytes) -> Request:
    try:
        message = snippets_pb2.ScoreRequest.FromString(data)
    except DecodeError:
        return Request(None)
    if len(message.snippets) > _MOST_FIELDS:
        return Request(None)
    return Request(message, [s.raw if s.HasField("raw") else None for s in message.snippets])


def _without_copy(data: bytes) -> Request:
    view, at, size = memoryview(data), 0, len(data)
    rest, pixels = bytearray(), list[Buffer | None]()
    for _ in range(_MOST_FIELDS):
        if at >= size:
            return _checked(snippets_pb2.ScoreRequest.FromString(bytes(rest)), pixels, size)
        if data[at] != _SNIPPETS:
            end = skip_field(data, at)
            rest += view[at:end]
        else:
            length, begin = read_varint(data, at + 1)
            end = begin + length
            if end > size:
                raise MalformedWire("a snippet that is cut off")
            head, raw = _cut(view, data, begin, end)
            pixels.append(raw)
            rest += with_length(_SNIPPETS_NUMBER, len(head))
            rest += head
        at = end
    raise _TooManyFields


def _checked(
    message: snippets_pb2.ScoreRequest, pixels: Sequence[Buffer | None], size: int
) -> Request:
    """Return a request whose pixels are views into a message of so many bytes."""
    if len(message.snippets) != len(pixels):
        raise MalformedWire("snippets that are written in another way")
    if size > 2 * sum(map(len, filter(None, pixels))) + _SMALL_BYTES:
        raise MalformedWire("little but something else, which the pixels would keep in memory")
    return Request(message, pixels)


def _cut(view: memoryview, data: bytes, at: int, stop: int) -> tuple[Buffer, memoryview | None]:
    """Take the pixels out of a snippet, and return what is left of it, and them.

    They are its last field, as protobuf writes them; others are left to protobuf.
    """
    begin = at
    for _ in range(_MOST_SNIPPET_FIELDS):
        if at >= stop:
            return view[begin:stop], None
        key = data[at]
        if key in _ELSEWHERE:
            raise MalformedWire("no pixels, of which a copy could be saved")
        if key == _RAW:
            length, start = read_varint(data, at + 1)
            if start + length != stop:
                raise MalformedWire("a snippet with something behind its pixels")
            return view[begin:at], view[start:stop]
        # Not by skip_field: the fields before the pixels are all like this.
        value = data[at + 1]
        if value < _ONE_BYTE and key in _WITH_LENGTH:
            at += 2 + value
        else:
            at = skip_field(data, at)
    raise _TooManyFields
