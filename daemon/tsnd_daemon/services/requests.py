"""Reads a ScoreRequest without copying its pixels.

protobuf copies a bytes field twice, into its arena and out of it again: for a frame of
150 KB that is most of what reading costs. So the pixels are cut out of the message as views,
and protobuf parses what is left. Whatever is not as our clients write it is parsed by
protobuf alone, which is the judge of it.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import InvalidSnippet

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SNIPPETS = snippets_pb2.ScoreRequest.SNIPPETS_FIELD_NUMBER << 3 | _LENGTH
_RAW = snippets_pb2.Snippet.RAW_FIELD_NUMBER << 3 | _LENGTH

Buffer = memoryview | bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is accepted.

    Attributes:
        message: All but the pixels; None when it cannot be read.
        pixels: The bytes of each snippet's `raw`; None where it has none.
    """

    message: snippets_pb2.ScoreRequest | None
    pixels: tuple[Buffer | None, ...] = ()


def readable(request: Request) -> snippets_pb2.ScoreRequest:
    """Return a request's message; raises InvalidSnippet when it could not be read."""
    if request.message is None:
        raise InvalidSnippet("the message is no ScoreRequest: it does not parse.")
    return request.message


class _Unusual(Exception):
    """A message that only protobuf should read."""


def parse_request(data: bytes) -> Request:
    """Read a ScoreRequest; never raises."""
    try:
        return _without_copy(data)
    except (_Unusual, IndexError, DecodeError):
        return _by_protobuf(data)


def _by_protobuf(data: bytes) -> Request:
    try:
        message = snippets_pb2.ScoreRequest.FromString(data)
    except DecodeError:
        return Request(None)
    return Request(
        message, tuple(s.raw if s.WhichOneof("payload") else None for s in message.snippets)
    )


def _without_copy(data: bytes) -> Request:
    view, at, rest, pixels = memoryview(data), 0, bytearray(), []
    while at < len(data):
        key, begin = _varint(data, at)
        if key != _SNIPPETS:
            end = _skip(data, key, begin)
            rest += view[at:end]
        else:
            length, begin = _varint(data, begin)
            end = begin + length
            if end > len(data):
                raise _Unusual
            header, raw = _cut(view, data, begin, end)
            pixels.append(raw)
            rest.append(_SNIPPETS)
            rest += _to_varint(len(header))
            rest += header
        at = end
    return Request(snippets_pb2.ScoreRequest.FromString(bytes(rest)), tuple(pixels))


def _cut(
    view: memoryview, data: bytes, at: int, stop: int
) -> tuple[bytes | memoryview, memoryview | None]:
    """Take the pixels out of a snippet; returns what is left of it, and them."""
    begin = at
    while at < stop:
        key, value = _varint(data, at)
        if key == _RAW:
            length, value = _varint(data, value)
            end = value + length
            if end > stop:
                raise _Unusual
            header = view[begin:at] if end == stop else bytes(view[begin:at]) + view[end:stop]
            if end != stop:
                _refuse_second(data, end, stop)
            return header, view[value:end]
        at = _skip(data, key, value)
    return view[begin:stop], None


def _refuse_second(data: bytes, at: int, stop: int) -> None:
    """Leave a snippet with two payloads to protobuf: the last one counts."""
    while at < stop:
        key, value = _varint(data, at)
        if key == _RAW:
            raise _Unusual
        at = _skip(data, key, value)


def _skip(data: bytes, key: int, at: int) -> int:
    """Return where the field ends whose value begins at a place."""
    match key & 7:
        case 0:
            return _varint(data, at)[1]
        case 2:
            length, at = _varint(data, at)
            return at + length
        case 1:
            return at + 8
        case 5:
            return at + 4
    raise _Unusual


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; returns it and where it ends."""
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
            raise _Unusual


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
