import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.wire.requests import parse_request, readable

TEXT = st.text(max_size=8)
SNIPPETS = st.builds(
    snippets_pb2.Snippet,
    id=TEXT,
    modality=st.integers(0, 300),
    shape=st.lists(st.integers(0, 2**32 - 1), max_size=4),
    raw=st.none() | st.binary(max_size=300),
)
REQUESTS = st.builds(
    snippets_pb2.ScoreRequest,
    model=TEXT,
    version=st.integers(0, 2**32 - 1),
    snippets=st.lists(SNIPPETS, max_size=4),
    priority=st.none() | st.integers(0, 9),
    timeout_us=st.integers(0, 2**64 - 1),
)


def judged_by_protobuf(data):
    """What a message says according to protobuf: all but the pixels, and the pixels."""
    try:
        message = snippets_pb2.ScoreRequest.FromString(data)
    except DecodeError:
        return None
    pixels = [s.raw if s.HasField("raw") else None for s in message.snippets]
    for snippet in message.snippets:
        snippet.ClearField("raw")
    return message, pixels


def parsed(data):
    request = parse_request(data, few_bytes=0)
    if request.message is None:
        return None
    for snippet in request.message.snippets:
        snippet.ClearField("raw")
    return request.message, [None if p is None else bytes(p) for p in request.pixels]


@given(REQUESTS)
def test_a_request_reads_as_protobuf_reads_it(request):
    data = request.SerializeToString()

    assert parsed(data) == judged_by_protobuf(data)


@given(REQUESTS, st.data())
def test_a_damaged_request_reads_as_protobuf_reads_it_or_not_at_all(request, data):
    damaged = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])

    assert parsed(cut) == judged_by_protobuf(cut)


@given(st.binary(max_size=60))
def test_random_bytes_read_as_protobuf_reads_them(data):
    assert parsed(data) == judged_by_protobuf(data)


@given(st.lists(SNIPPETS, min_size=2, max_size=3))
def test_fields_of_a_snippet_may_come_in_any_order_and_twice(snippets):
    joined = b"".join(snippet.SerializeToString() for snippet in snippets)
    data = snippets_pb2.ScoreRequest(model="m").SerializeToString()
    data += b"\x1a" + varint(len(joined)) + joined

    assert parsed(data) == judged_by_protobuf(data)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("data", [b"\x9a\x00\x03\x22\x01x", b"\x1a\x04\xa2\x00\x01x"])
def test_tags_that_are_longer_than_they_need_be_read_as_protobuf_reads_them(data):
    assert parsed(data) == judged_by_protobuf(data)
    assert parsed(data)[1] == [b"x"]


def test_pixels_do_not_keep_a_message_in_memory_that_has_little_else():
    unknown = b"\x7a" + varint(1_000_000) + bytes(1_000_000)
    request = snippets_pb2.ScoreRequest(snippets=[snippets_pb2.Snippet(raw=b"pixels")])

    (pixels,) = parse_request(request.SerializeToString() + unknown, few_bytes=0).pixels

    assert pixels == b"pixels"
    assert isinstance(pixels, bytes), "a copy"


def test_the_pixels_are_those_of_the_message_itself():
    raw = np.arange(1000, dtype=np.uint16).tobytes()
    data = snippets_pb2.ScoreRequest(snippets=[snippets_pb2.Snippet(raw=raw)]).SerializeToString()

    (pixels,) = parse_request(data, few_bytes=0).pixels

    assert isinstance(pixels, memoryview)
    assert pixels.obj is data, "nothing is copied"
    assert bytes(pixels) == raw


@pytest.mark.parametrize(
    "data",
    [
        b"\x1a\x00" * 2_000_000,  # snippets without anything
        b"\x10\x01" * 2_000_000,  # the version, over and over
        b"\x1a\x80\x89\x7a" + b"\x10\x01" * 1_000_000,  # a snippet's modality
        b"\x93\x01\x94\x01" + b"\x1a\x00" * 2_000_000,  # behind a group, which protobuf skips
        (b"\x1a\x9e\x9c\x01" + b"\x10\x01" * 9_999) * 212,  # many snippets of many fields
    ],
)
def test_a_message_of_very_many_fields_is_not_read(data):
    assert parse_request(data).message is None


def test_what_cannot_be_read_is_told():
    with pytest.raises(InvalidSnippet, match="no ScoreRequest"):
        readable(parse_request(b"\xff" * 9))
