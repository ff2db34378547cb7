import pytest

from tsnd.v1 import snippets_pb2
from tsnd_client.outbox import Outbox


def request(*ids):
    return snippets_pb2.ScoreRequest(
        model="m", snippets=[snippets_pb2.Snippet(id=snippet_id) for snippet_id in ids]
    )


def attach():
    return snippets_pb2.ScoreRequest(attach=snippets_pb2.SharedMemory(key="k"))


def filled(*requests, most):
    outbox = Outbox(most)
    for each in requests:
        outbox.put(each)
    return outbox


def taken(outbox):
    """Take everything out; returns the ids of each request."""
    requests = []
    while outbox:
        requests.append([snippet.id for snippet in outbox.take().snippets])
    return requests


def test_what_waits_is_joined_in_order_up_to_the_bound():
    assert taken(filled(*map(request, "abcde"), most=3)) == [["a", "b", "c"], ["d", "e"]]


def test_with_a_bound_of_one_nothing_is_joined():
    assert taken(filled(*map(request, "ab"), most=1)) == [["a"], ["b"]]


def test_groups_are_never_split():
    groups = [request("a", "b"), request("c", "d"), request("e")]

    assert taken(filled(*groups, most=3)) == [["a", "b"], ["c", "d", "e"]]


def test_a_group_beyond_the_bound_goes_by_itself():
    assert taken(filled(request("a", "b", "c"), request("d"), most=2)) == [["a", "b", "c"], ["d"]]


def test_what_attaches_memory_goes_by_itself():
    outbox = filled(request("a"), attach(), request("b"), most=4)

    assert taken(outbox) == [["a"], [], ["b"]]


def test_a_joined_request_keeps_what_holds_for_all_its_snippets():
    joined = filled(request("a"), request("b"), most=2).take()

    assert (joined.model, len(joined.snippets)) == ("m", 2)


def test_it_is_full_when_a_message_is():
    outbox = filled(request("a"), most=2)
    assert not outbox.is_full

    outbox.put(request("b"))
    assert outbox.is_full
    outbox.take()
    assert not outbox.is_full


def test_nothing_is_taken_from_an_empty_one():
    with pytest.raises(IndexError):
        Outbox(2).take()
