import asyncio

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import bad, good, message, scored
from tsnd_client import SnippetRejected, SnippetScores, errors
from tsnd_client.in_flight import InFlight, StreamEnd

BLACK = np.zeros((6, 8, 3), np.uint8)
DRAINING = StreamEnd(grpc.StatusCode.UNAVAILABLE, "draining")


@pytest.fixture
def in_flight(rgb_model):
    return InFlight(rgb_model, "host:1")


@pytest.fixture
def grouped(rgb_model):
    return InFlight(rgb_model, "host:1", group_size=3)


def named(ids):
    return [(snippet_id, BLACK) for snippet_id in ids]


def sizes(requests):
    return [len(request.snippets) for request in requests]


def settle(in_flight, reply):
    return list(in_flight.settle(reply))


def test_a_reply_settles_the_oldest_snippet(in_flight):
    first, _ = in_flight.requests(named("ab"))

    assert [result.snippet_id for result in settle(in_flight, scored(first))] == ["a"]
    assert len(in_flight) == 1


def test_groups_are_filled_and_the_last_is_sent_as_it_is(grouped):
    assert sizes(grouped.requests(named("abcdefg"))) == [3, 3, 1]
    assert len(grouped) == 7


def test_an_input_that_fills_its_last_group_sends_no_empty_one(grouped):
    assert sizes(grouped.requests(named("abcdef"))) == [3, 3]


def test_snippets_count_as_in_flight_when_their_group_is_sent(grouped):
    requests = grouped.requests(named("abcd"))

    next(requests)

    assert len(grouped) == 3


def test_results_settle_snippets_in_whatever_messages_they_come(grouped):
    one, two = grouped.requests(named("abcde"))
    a, b, c = one.snippets
    d, e = two.snippets

    results = [
        *settle(grouped, message(good(a))),
        *settle(grouped, message(good(b), bad(c), good(d))),
        *settle(grouped, message(good(e))),
    ]

    assert [result.snippet_id for result in results] == list("abcde")
    assert {type(r) for r in results if r.snippet_id != "c"} == {SnippetScores}
    assert isinstance(results[2], SnippetRejected)
    grouped.finish(StreamEnd())


def test_a_result_out_of_order_is_a_bad_reply(in_flight):
    _, second = in_flight.requests(named("ab"))

    with pytest.raises(errors.BadReply, match="out of order"):
        settle(in_flight, scored(second))


def test_results_before_a_bad_one_in_a_message_are_given_out(grouped):
    (request,) = grouped.requests(named("ab"))
    first = request.snippets[0]

    results = grouped.settle(message(good(first), good(first)))

    assert next(results).snippet_id == "a"
    with pytest.raises(errors.BadReply, match="expected the reply for snippet 'b'"):
        next(results)


def test_a_result_too_many_is_a_bad_reply(in_flight):
    (request,) = in_flight.requests(named("a"))
    settle(in_flight, scored(request))

    with pytest.raises(errors.BadReply, match="more results"):
        settle(in_flight, scored(request))


def test_a_reply_without_results_is_a_bad_reply(in_flight):
    list(in_flight.requests(named("a")))

    with pytest.raises(errors.BadReply, match="without results, expected at least one"):
        settle(in_flight, message())


def test_a_stream_with_all_snippets_answered_ends_well(in_flight):
    (request,) = in_flight.requests(named("a"))
    settle(in_flight, scored(request))

    in_flight.finish(StreamEnd())


def test_an_early_end_tells_how_many_are_unanswered(in_flight):
    first, _, _ = in_flight.requests(named("abc"))
    settle(in_flight, scored(first))

    with pytest.raises(errors.StreamInterrupted) as caught:
        settle(in_flight, DRAINING)

    assert (caught.value.answered, caught.value.unanswered) == (1, 2)


def test_an_end_before_the_input_ends_is_early_even_with_nothing_unanswered(in_flight):
    settle(in_flight, scored(next(in_flight.requests(named("ab")))))

    with pytest.raises(errors.StreamInterrupted):
        in_flight.finish(StreamEnd())


def test_unavailable_before_any_answer_means_no_daemon(in_flight):
    list(in_flight.requests(named("a")))

    with pytest.raises(errors.DaemonUnavailable, match="host:1"):
        settle(in_flight, DRAINING)


def test_an_exception_of_the_input_waits_for_the_end_of_the_stream(grouped):
    failure = ValueError("lens cap on")

    def feed():
        yield from named("abcd")
        raise failure

    for request in grouped.requests(feed()):
        settle(grouped, scored(request))

    with pytest.raises(ValueError, match="lens cap on") as caught:
        grouped.finish(StreamEnd())
    assert caught.value is failure


@pytest.mark.parametrize("group_size", [1, 2, 3, 4, 5])
def test_an_input_that_raises_sends_what_it_gave_before(rgb_model, group_size):
    in_flight = InFlight(rgb_model, "host:1", group_size=group_size)

    def feed():
        yield from named("abcd")
        raise ValueError

    sent = [s.id for request in in_flight.requests(feed()) for s in request.snippets]

    assert sent == list("abcd")


def test_pixels_that_do_not_fit_send_what_came_before(grouped):
    feed = [*named("a"), ("b", BLACK[1:])]

    (request,) = grouped.requests(feed)

    assert [snippet.id for snippet in request.snippets] == ["a"]
    settle(grouped, scored(request))
    with pytest.raises(errors.FrameMismatch, match="'b'"):
        grouped.finish(StreamEnd())


async def test_an_async_input_is_grouped_alike(grouped):
    async def feed():
        for snippet in named("abcdefg"):
            yield snippet

    assert sizes([request async for request in grouped.requests_async(feed())]) == [3, 3, 1]


async def test_a_cancellation_inside_an_async_input_is_not_lost(grouped):
    async def feed():
        yield "a", BLACK
        raise asyncio.CancelledError

    (request,) = [request async for request in grouped.requests_async(feed())]
    settle(grouped, scored(request))

    with pytest.raises(asyncio.CancelledError):
        grouped.finish(StreamEnd())
