import asyncio

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import scored
from tsnd_client import errors
from tsnd_client.in_flight import InFlight, StreamEnd

BLACK = np.zeros((6, 8, 3), np.uint8)
DRAINING = StreamEnd(grpc.StatusCode.UNAVAILABLE, "draining")


@pytest.fixture
def in_flight(rgb_model):
    return InFlight(rgb_model, "host:1")


def test_a_reply_settles_the_oldest_snippet(in_flight):
    first, _ = in_flight.requests([("a", BLACK), ("b", BLACK)])

    assert in_flight.settle(scored(first)).snippet_id == "a"
    assert len(in_flight) == 1


def test_a_reply_out_of_order_is_a_bad_reply(in_flight):
    _, second = in_flight.requests([("a", BLACK), ("b", BLACK)])

    with pytest.raises(errors.BadReply, match="out of order"):
        in_flight.settle(scored(second))


def test_a_reply_too_many_is_a_bad_reply(in_flight):
    (request,) = in_flight.requests([("a", BLACK)])
    in_flight.settle(scored(request))

    with pytest.raises(errors.BadReply, match="more replies"):
        in_flight.settle(scored(request))


def test_a_stream_with_all_snippets_answered_ends_well(in_flight):
    (request,) = in_flight.requests([("a", BLACK)])
    in_flight.settle(scored(request))

    in_flight.finish(StreamEnd())


def test_an_early_end_tells_how_many_are_unanswered(in_flight):
    first, _, _ = in_flight.requests([("a", BLACK), ("b", BLACK), ("c", BLACK)])
    in_flight.settle(scored(first))

    with pytest.raises(errors.StreamInterrupted) as caught:
        in_flight.settle(DRAINING)

    assert (caught.value.answered, caught.value.unanswered) == (1, 2)


def test_an_end_before_the_input_ends_is_early_even_with_nothing_unanswered(in_flight):
    in_flight.settle(scored(next(in_flight.requests([("a", BLACK), ("b", BLACK)]))))

    with pytest.raises(errors.StreamInterrupted):
        in_flight.finish(StreamEnd())


def test_unavailable_before_any_answer_means_no_daemon(in_flight):
    list(in_flight.requests([("a", BLACK)]))

    with pytest.raises(errors.DaemonUnavailable, match="host:1"):
        in_flight.settle(DRAINING)


def test_an_exception_of_the_input_waits_for_the_end_of_the_stream(in_flight):
    failure = ValueError("lens cap on")

    def feed():
        yield "a", BLACK
        raise failure

    (request,) = in_flight.requests(feed())
    in_flight.settle(scored(request))

    with pytest.raises(ValueError, match="lens cap on") as caught:
        in_flight.finish(StreamEnd())
    assert caught.value is failure


async def test_a_cancellation_inside_an_async_input_is_not_lost(in_flight):
    async def feed():
        yield "a", BLACK
        raise asyncio.CancelledError

    (request,) = [request async for request in in_flight.requests_async(feed())]
    in_flight.settle(scored(request))

    with pytest.raises(asyncio.CancelledError):
        in_flight.finish(StreamEnd())
