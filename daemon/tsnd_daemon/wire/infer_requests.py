"""Reads a ModelInferRequest without copying its pixels; see requests.py for why.

Raw contents are fields of the message itself, and so easier to find there than those of
snippets. What no protobuf library writes is refused, rather than left to protobuf: a message
of millions of tiny fields would hold up the event loop.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from tsnd.kserve import inference_pb2
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.wire.encoding import MalformedWire, read_varint, skip_field, tag

_REQUEST = inference_pb2.ModelInferRequest
_RAW = tag(_REQUEST.RAW_INPUT_CONTENTS_FIELD_NUMBER)
_MOST_FIELDS = 4_096
"""Of a message, with those of the messages in it."""
_MOST_NOT_RAW_BYTES = 64 * 1024
"""What may stand beside the pixels; more of it is copied with them, not kept by them."""

_Tree = Mapping[int, "_Tree"]
_MAP_ENTRY: _Tree = {tag(2): {}}
_MESSAGES: _Tree = {
    tag(_REQUEST.PARAMETERS_FIELD_NUMBER): _MAP_ENTRY,
    tag(_REQUEST.INPUTS_FIELD_NUMBER): {
        tag(_REQUEST.InferInputTensor.PARAMETERS_FIELD_NUMBER): _MAP_ENTRY,
        tag(_REQUEST.InferInputTensor.CONTENTS_FIELD_NUMBER): {},
    },
    tag(_REQUEST.OUTPUTS_FIELD_NUMBER): {
        tag(_REQUEST.InferRequestedOutputTensor.PARAMETERS_FIELD_NUMBER): _MAP_ENTRY,
    },
}
"""Tags of the fields that are messages, with the same for the fields in them."""

Buffer = memoryview | bytes


@dataclass(slots=True)
class InferRequest:
    """A request as it is accepted.

    Attributes:
        message: All but the raw contents; None when it cannot be read.
        raw: The raw contents.
        received_ns: When it began to be read, monotonic nanoseconds.
    """

    message: inference_pb2.ModelInferRequest | None
    raw: Sequence[Buffer] = ()
    received_ns: int = field(default=0, compare=False)


def readable(request: InferRequest) -> inference_pb2.ModelInferRequest:
    """Return a request's message; raises InvalidRequest when it could not be read."""
    if request.message is None:
        raise InvalidRequest(
            "the message is no ModelInferRequest: it does not parse, or has over "
            f"{_MOST_FIELDS} fields."
        )
    return request.message


def parse_infer_request(data: bytes) -> InferRequest:
    """Read a ModelInferRequest; never raises."""
    received_ns = time.monotonic_ns()
    request = _read(data)
    request.received_ns = received_ns
    return request


def _read(data: bytes) -> InferRequest:
    try:
        rest, raw = _cut(data)
        message = _REQUEST.FromString(rest)
    except (MalformedWire, IndexError, DecodeError):
        return InferRequest(None)
    if len(rest) > _MOST_NOT_RAW_BYTES:
        raw = [bytes(contents) for contents in raw]
    return InferRequest(message, raw)


def _cut(data: bytes) -> tuple[bytes, Sequence[Buffer]]:
    """Return a message without its raw contents, and those."""
    view, at, size = memoryview(data), 0, len(data)
    rest, raw, left = bytearray(), list[Buffer](), _MOST_FIELDS
    while at < size:
        end = skip_field(data, at)
        if end > size:
            raise MalformedWire("a field that is cut off")
        left = _count(data, at, end, _MESSAGES, left)
        if data[at] == _RAW:
            begin = read_varint(data, at + 1)[1]
            raw.append(view[begin:end])
        else:
            rest += view[at:end]
        at = end
    return bytes(rest), raw


def _count(data: bytes, at: int, end: int, messages: _Tree, left: int) -> int:
    """Count fields, and those inside of them.

    Args:
        data: Where they are.
        at: Where the first one begins.
        end: Where the last one ends.
        messages: Which of them are messages.
        left: How many there may be.

    Returns:
        How many there may be after them.

    Raises:
        IndexError: When the data end within a field's head.
        MalformedWire: When there are more.
    """
    while at < end:
        if not left:
            raise MalformedWire("too many fields")
        left -= 1
        begin, at = at, skip_field(data, at)
        if (inside := messages.get(data[begin])) is not None:
            start = read_varint(data, begin + 1)[1]
            left = _count(data, start, min(at, end), inside, left)
    return left
