import gc
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.client.toy_daemon import good, message, scored
from tsnd.v1 import snippets_pb2
from tsnd_client import Jpeg
from tsnd_client.in_flight import InFlight, StreamEnd
from tsnd_client.shared_memory import SnippetMemory, is_on_this_host, make_memory

FRAMES = np.random.default_rng(5).integers(0, 256, (8, 6, 8, 3), np.uint8)
SIZE = 6 * 8 * 3


def accepted():
    return snippets_pb2.ScoreStreamResponse(attachment=snippets_pb2.Attachment())


def refused():
    return snippets_pb2.ScoreStreamResponse(attachment=snippets_pb2.Attachment(refusal="no"))


@pytest.fixture
def memory():
    made = SnippetMemory((6, 8, 3), 3)
    yield made
    made.close()


@pytest.fixture
def in_flight(rgb_model, memory):
    return InFlight(rgb_model, "host:1", memory=memory)


def test_places_hold_the_pixels_until_they_are_released_and_the_last_is_taken_first(memory):
    offsets = [memory.put(frame) for frame in FRAMES[:3]]
    with pytest.raises(IndexError):
        memory.put(FRAMES[3])
    memory.release(0)
    memory.release(SIZE)

    offsets.append(memory.put(FRAMES[3]))

    content = os.pread(memory.where.descriptor, 3 * SIZE, 0)
    assert offsets == [0, SIZE, 2 * SIZE, SIZE]
    assert content == FRAMES[[0, 3, 2]].tobytes()


def test_a_stream_uses_no_more_places_than_it_has_in_flight(in_flight, memory):
    requests = in_flight.requests([(str(i), frame) for i, frame in enumerate(FRAMES)])
    next(requests)
    list(in_flight.settle(accepted()))

    offsets = []
    for request in requests:
        (snippet,) = request.snippets
        offsets.append(snippet.shared.offset)
        sent = snippets_pb2.Snippet()
        sent.CopyFrom(snippet)
        sent.raw = FRAMES[0].tobytes()
        list(in_flight.settle(message(good(sent))))

    assert offsets == [0] * len(FRAMES)


def test_the_memory_says_where_it_is(memory):
    link = Path(f"/proc/{memory.where.process_id}/fd/{memory.where.descriptor}").readlink()

    assert str(link) == f"/memfd:{memory.where.key} (deleted)"
    assert memory.where.byte_size == 3 * SIZE


def test_the_memory_cannot_become_smaller(memory):
    with pytest.raises(PermissionError):
        os.truncate(memory.where.descriptor, 1)


def test_two_memories_have_different_names(memory):
    other = SnippetMemory((1,), 1)
    other.close()

    assert other.where.key != memory.where.key


def test_nothing_stays_open_after_the_end():
    gc.collect()
    before = set(Path("/proc/self/fd").iterdir())
    memory = SnippetMemory((6, 8, 3), 3)
    key = memory.where.key
    memory.put(FRAMES[0])

    memory.close()
    memory.close()

    assert set(Path("/proc/self/fd").iterdir()) <= before
    assert key not in Path("/proc/self/maps").read_text()


def test_memory_that_cannot_be_had_is_none():
    assert make_memory((2**40,), 2**20) is None


def test_the_first_request_offers_the_memory_and_the_next_go_there_once_it_is_taken(
    in_flight, memory
):
    requests = in_flight.requests([(str(i), frame) for i, frame in enumerate(FRAMES)])

    offer, before = next(requests), next(requests)
    assert list(in_flight.settle(accepted())) == []
    after = next(requests)

    assert offer == snippets_pb2.ScoreRequest(attach=memory.where)
    assert before.snippets[0].raw == FRAMES[0].tobytes()
    assert after.snippets[0].WhichOneof("payload") == "shared"
    assert os.pread(memory.where.descriptor, SIZE, 0) == FRAMES[1].tobytes()


def test_the_answer_to_the_offer_may_come_with_results(in_flight):
    requests = in_flight.requests([("a", FRAMES[0])])
    _, request = requests
    reply = scored(request)
    reply.MergeFrom(accepted())

    assert [r.snippet_id for r in in_flight.settle(reply)] == ["a"]
    in_flight.finish(StreamEnd())


def test_pixels_are_sent_when_the_daemon_refuses_the_memory(in_flight, memory):
    requests = in_flight.requests([("a", FRAMES[0])])
    next(requests)
    list(in_flight.settle(refused()))

    request = next(requests)

    assert request.snippets[0].raw == FRAMES[0].tobytes()
    assert list(in_flight.settle(message(good(request.snippets[0]))))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memory.where.descriptor)


def test_jpeg_is_sent_even_where_memory_is_shared(in_flight):
    requests = in_flight.requests([("a", Jpeg(b"one", bytearray(b"two")))])
    next(requests)
    list(in_flight.settle(accepted()))

    (snippet,) = next(requests).snippets

    assert list(snippet.jpeg.images) == [b"one", b"two"]
    assert list(snippet.shape) == []


def test_a_daemon_that_does_not_offer_it_is_not_asked(rgb_model):
    assert not replace(rgb_model).shared_memory


@pytest.mark.parametrize(
    ("target", "is_here"),
    [
        ("127.0.0.1:8001", True),
        ("localhost:8001", True),
        ("[::1]:8001", True),
        ("unix:/run/tsnd.sock", True),
        (f"{socket.gethostname()}:8001", True),
        ("192.0.2.7:8001", False),
        ("gpu.example:8001", False),
    ],
)
def test_a_target_tells_whether_the_daemon_is_on_this_host(target, is_here):
    assert is_on_this_host(target) is is_here
