import asyncio
import contextlib
import gc
import itertools
import threading
from dataclasses import replace

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import bad, good, message, scored
from tsnd_client import (
    AsyncClient,
    BadReply,
    CallFailed,
    Client,
    DaemonUnavailable,
    FrameMismatch,
    Modality,
    ModelNotFound,
    Pair,
    Priority,
    SnippetRejected,
    SnippetScores,
    StreamInterrupted,
)

# Port 1 belongs to tcpmux, which nothing runs.
NOBODY = "127.0.0.1:1"
DEADLINE_S = 20.0


def snippet(index):
    return f"cam/{index}", np.full((6, 8, 3), index % 256, np.uint8)


def snippets(count):
    return map(snippet, range(count))


def collect_sync(target, model, feed, results, *, max_in_flight=16, **options):
    with Client(target, max_in_flight=max_in_flight) as client:
        results.extend(client.score_stream(model, feed, deadline_s=DEADLINE_S, **options))


def collect_async(target, model, feed, results, *, max_in_flight=16, **options):
    async def collect():
        async with AsyncClient(target, max_in_flight=max_in_flight) as client:
            stream = client.score_stream(model, feed, deadline_s=DEADLINE_S, **options)
            async for result in stream:
                results.append(result)

    asyncio.run(collect())


# Both clients keep the same promises about a stream: collect() runs one of them to its end.
both = pytest.mark.parametrize(
    "collect", [collect_sync, collect_async], ids=["Client", "AsyncClient"]
)
sizes = pytest.mark.parametrize("group_size", [None, 1, 3, 16])


def test_models_are_listed(serve):
    with Client(serve().target) as client:
        names = [(model.name, model.modality, model.classes) for model in client.models()]

    assert names == [("toy-flow", "flow", 3), ("toy-rgb", "rgb", 3)]


def test_a_model_is_described_and_asked_for_once(serve, rgb_model):
    running = serve()

    with Client(running.target) as client:
        assert client.model("toy-rgb") == client.model("toy-rgb") == rgb_model

    assert running.daemon.get_model_calls == 1


def test_pairs_are_listed(serve):
    with Client(serve().target) as client:
        assert client.pairs() == (Pair("toy", rgb_model="toy-rgb", flow_model="toy-flow"),)


def test_a_pair_is_described_by_modality_and_asked_for_once_each(serve):
    running = serve()

    with Client(running.target) as client:
        names = [client.model("toy", modality).name for modality in [*Modality, *Modality]]

    assert names == ["toy-rgb", "toy-flow"] * 2
    assert running.daemon.get_model_calls == 2


def test_snippets_of_a_pair_are_sent_to_the_pair_and_scored_by_its_models(serve):
    running = serve()

    with Client(running.target) as client:
        rgb = client.score(client.model("toy", Modality.RGB), snippet(7)[1])
        (flow,) = client.score_stream(
            client.model("toy", Modality.FLOW), [("a", np.full((4, 6, 8), 128, np.uint8))]
        )

    assert isinstance(flow, SnippetScores)
    assert (rgb.model, flow.model) == ("toy-rgb", "toy-flow")
    assert [request.model for request in running.daemon.requests] == ["toy", "toy"]


def test_requests_carry_a_version_only_when_it_is_pinned(serve):
    running = serve()

    with Client(running.target) as client:
        client.score(client.model("toy-rgb"), snippet(0)[1])
        client.score(client.model("toy-rgb", version=3), snippet(0)[1])
        with pytest.raises(ModelNotFound):
            client.model("toy-rgb", version=2)

    assert [request.version for request in running.daemon.requests] == [0, 3]


def test_an_unknown_model_is_an_error_that_names_what_is_served(serve):
    with Client(serve().target) as client, pytest.raises(ModelNotFound, match=r"'nope'.*toy-rgb"):
        client.model("nope")


def test_one_snippet_is_scored(serve, rgb_model):
    with Client(serve().target) as client:
        result = client.score(rgb_model, snippet(7)[1], "cam/7")

    assert result.snippet_id == "cam/7"
    assert result.scores.tolist() == [7, 7, 7]


def test_one_flow_snippet_is_scored(serve, flow_model):
    with Client(serve().target) as client:
        result = client.score(flow_model, np.full((4, 6, 8), 128, np.uint8))

    assert result.scores.tolist() == [128, 128, 128]


def test_a_rejected_snippet_raises(serve, rgb_model):
    with Client(serve().target) as client, pytest.raises(SnippetRejected) as caught:
        client.score(rgb_model, snippet(0)[1], "bad")

    assert caught.value.snippet_id == "bad"
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_snippet_for_which_there_is_no_room_says_when_to_try_again(serve, rgb_model):
    with Client(serve().target) as client, pytest.raises(SnippetRejected) as caught:
        client.score(rgb_model, snippet(0)[1], "full")

    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s == 0.25


def test_one_snippet_carries_its_urgency(serve, rgb_model):
    running = serve()

    with Client(running.target) as client:
        client.score(rgb_model, snippet(0)[1], priority=Priority.BULK, timeout_s=0.5)

    (request,) = running.daemon.requests
    assert (request.priority, request.timeout_us) == (2, 500_000)


def test_a_missed_deadline_is_a_failed_call(serve, rgb_model):
    with Client(serve().target, deadline_s=0.05) as client, pytest.raises(CallFailed) as caught:
        client.score(rgb_model, snippet(0)[1], "never")

    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unreachable_target_is_named():
    with Client(NOBODY) as client, pytest.raises(DaemonUnavailable, match=NOBODY):
        client.models()


async def test_the_async_client_makes_the_same_calls(serve, rgb_model):
    running = serve()

    async with AsyncClient(running.target) as client:
        assert [model.name for model in await client.models()] == ["toy-flow", "toy-rgb"]
        assert await client.model("toy-rgb") == await client.model("toy-rgb") == rgb_model
        assert (await client.score(rgb_model, snippet(7)[1])).scores.tolist() == [7, 7, 7]
        assert [pair.name for pair in await client.pairs()] == ["toy"]
        assert (await client.model("toy", Modality.FLOW, version=3)).name == "toy-flow"
        with pytest.raises(SnippetRejected):
            await client.score(rgb_model, snippet(7)[1], "bad")
        with pytest.raises(SnippetRejected) as caught:
            await client.score(rgb_model, snippet(7)[1], "full")
        await client.score(rgb_model, snippet(7)[1], priority=Priority.BULK, timeout_s=0.5)
        with pytest.raises(ModelNotFound):
            await client.model("nope")

    assert running.daemon.get_model_calls == 3
    assert caught.value.retry_after_s == 0.25
    assert (running.daemon.requests[-1].priority, running.daemon.requests[-1].timeout_us) == (
        2,
        500_000,
    )


async def test_the_async_client_names_an_unreachable_target():
    async with AsyncClient(NOBODY) as client:
        with pytest.raises(DaemonUnavailable, match=NOBODY):
            await client.models()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_no_snippet_in_flight_is_no_way_to_work(kind):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        kind(max_in_flight=0)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"timeout_s": 0}, "timeout_s must be more than 0"),
        ({"priority": 7}, "7 is not a valid Priority"),
    ],
)
async def test_an_option_out_of_range_is_refused_at_once(rgb_model, kind, option, words):
    with pytest.raises(ValueError, match=words):
        kind(NOBODY).score_stream(rgb_model, [], **option)


@both
@sizes
def test_five_hundred_snippets_come_back_in_order(serve, rgb_model, collect, group_size):
    results: list[SnippetScores] = []

    collect(serve().target, rgb_model, snippets(500), results, group_size=group_size)

    assert [result.snippet_id for result in results] == [f"cam/{i}" for i in range(500)]
    assert [result.scores[0] for result in results] == [i % 256 for i in range(500)]


@both
def test_a_stream_of_no_snippets_has_no_results(serve, rgb_model, collect):
    results: list[SnippetScores] = []

    collect(serve().target, rgb_model, [], results)

    assert results == []


@both
@pytest.mark.parametrize(
    ("asked", "max_in_flight", "max_group_size", "sent"),
    [(3, 16, 16, [3, 3, 2]), (9, 4, 16, [4, 4]), (9, 16, 5, [5, 3]), (1, 16, 16, [1] * 8)],
)
def test_groups_are_as_large_as_asked_for_and_allowed(
    serve, rgb_model, collect, *, asked, max_in_flight, max_group_size, sent
):
    running = serve()
    model = replace(rgb_model, max_group_size=max_group_size)
    results: list[SnippetScores] = []

    collect(
        running.target, model, snippets(8), results, max_in_flight=max_in_flight, group_size=asked
    )

    assert [len(request.snippets) for request in running.daemon.requests] == sent
    assert len(results) == 8


@both
def test_snippets_that_are_there_together_travel_together(serve, rgb_model, collect):
    results: list[SnippetScores] = []
    running = serve(six_at_a_time)

    collect(running.target, rgb_model, snippets(36), results, max_in_flight=12)

    sizes = [len(request.snippets) for request in running.daemon.requests]
    assert max(sizes) <= 6  # half of what may be in flight: the rest travels meanwhile
    assert len(sizes) < 18
    assert [result.snippet_id for result in results] == [f"cam/{i}" for i in range(36)]


@pytest.mark.parametrize("collect", [collect_sync, collect_async])
def test_a_snippet_without_company_goes_at_once(serve, rgb_model, collect):
    arrived = threading.Semaphore(0)

    def note_arrivals(requests, context):
        for request in requests:
            arrived.release()
            yield scored(request)

    def live():
        """Give the next frame when the daemon has the one before."""
        for index in range(3):
            yield snippet(index)
            assert arrived.acquire(timeout=DEADLINE_S)

    async def live_async():
        for index in range(3):
            yield snippet(index)
            assert await asyncio.to_thread(arrived.acquire, timeout=DEADLINE_S)

    running = serve(note_arrivals)
    feed = live() if collect is collect_sync else live_async()
    collect(running.target, rgb_model, feed, [])

    assert [len(request.snippets) for request in running.daemon.requests] == [1, 1, 1]


@both
def test_every_request_of_a_stream_carries_its_urgency(serve, rgb_model, collect):
    running = serve()

    urgency = {"priority": Priority.BULK, "timeout_s": 2}
    collect(running.target, rgb_model, snippets(4), [], group_size=1, **urgency)

    assert [(r.priority, r.timeout_us) for r in running.daemon.requests] == [(2, 2_000_000)] * 4


def one_by_one(requests, context):
    """Answer every snippet in a message of its own."""
    for request in requests:
        yield from (message(good(snippet)) for snippet in request.snippets)


def six_at_a_time(requests, context):
    """Answer six snippets, of whatever requests, in one message."""
    each = (snippet for request in requests for snippet in request.snippets)
    while six := list(itertools.islice(each, 6)):
        yield message(*map(good, six))


@both
@pytest.mark.parametrize("regroup", [one_by_one, six_at_a_time])
def test_how_results_are_grouped_has_no_meaning(serve, rgb_model, collect, regroup):
    results: list[SnippetScores] = []

    collect(serve(regroup).target, rgb_model, snippets(32), results, group_size=4)

    assert [result.snippet_id for result in results] == [f"cam/{i}" for i in range(32)]


@both
@sizes
def test_a_rejected_snippet_keeps_its_place_in_the_stream(serve, rgb_model, collect, group_size):
    def reject_second(requests, context):
        for request in requests:
            yield message(*((bad if s.id == "cam/1" else good)(s) for s in request.snippets))

    results: list[SnippetScores | SnippetRejected] = []
    target = serve(reject_second).target
    collect(target, rgb_model, snippets(3), results, group_size=group_size)

    assert [result.snippet_id for result in results] == ["cam/0", "cam/1", "cam/2"]
    assert [type(result) for result in results] == [SnippetScores, SnippetRejected, SnippetScores]


@both
def test_a_newer_version_may_take_over_within_a_stream(serve, rgb_model, collect):
    def roll_out(requests, context):
        yield scored(next(requests))
        yield from (scored(request, version=4) for request in requests)

    results: list[SnippetScores] = []
    collect(serve(roll_out).target, rgb_model, snippets(3), results, group_size=1)

    assert [result.version for result in results] == [3, 4, 4]


@both
def test_a_message_without_results_is_reported(serve, rgb_model, collect):
    def say_nothing(requests, context):
        next(requests)
        yield message()

    with pytest.raises(BadReply, match="without results"):
        collect(serve(say_nothing).target, rgb_model, snippets(2), [])


class CountingFeed:
    """Thirty snippets, and how many of them were pulled."""

    def __init__(self):
        self.pulled = 0

    def __iter__(self):
        for index in range(30):
            self.pulled += 1
            yield snippet(index)


@both
@pytest.mark.parametrize(
    ("limit", "group_size", "lead"), [(1, 1, 1), (5, 1, 5), (6, 3, 6), (6, 6, 6), (5, 2, 4)]
)
def test_the_input_runs_ahead_by_whole_groups_within_max_in_flight(
    serve, rgb_model, collect, *, limit, group_size, lead
):
    feed = CountingFeed()
    leads = []

    def answer_when_full(requests, context):
        """Withhold results until `lead` snippets wait for one."""
        snippets = (snippet for request in requests for snippet in request.snippets)
        waiting = list(itertools.islice(snippets, lead))
        answered = 0
        while waiting:
            leads.append(feed.pulled - answered)
            group, waiting = waiting[:group_size], waiting[group_size:]
            answered += len(group)
            yield message(*map(good, group))
            waiting.extend(itertools.islice(snippets, group_size))

    results: list[SnippetScores] = []
    collect(
        serve(answer_when_full).target,
        rgb_model,
        feed,
        results,
        max_in_flight=limit,
        group_size=group_size,
    )

    assert len(results) == 30
    assert max(leads) == lead


@both
@sizes
def test_an_exception_of_the_input_surfaces_unchanged_in_its_place(
    serve, rgb_model, collect, group_size
):
    failure = LookupError("camera gone")

    def feed():
        yield from snippets(20)
        raise failure

    results: list[SnippetScores] = []
    with pytest.raises(LookupError) as caught:
        collect(serve().target, rgb_model, feed(), results, group_size=group_size)

    assert caught.value is failure
    assert len(results) == 20


@both
@sizes
def test_pixels_that_do_not_fit_surface_in_their_place(serve, rgb_model, collect, group_size):
    feed = [snippet(0), ("cam/1", np.zeros((2, 2, 3), np.uint8))]
    results: list[SnippetScores] = []

    with pytest.raises(FrameMismatch, match="cam/1"):
        collect(serve().target, rgb_model, feed, results, group_size=group_size)

    assert [result.snippet_id for result in results] == ["cam/0"]


@both
def test_a_daemon_that_drains_while_snippets_are_sent_loses_no_answer(serve, rgb_model, collect):
    def drain(requests, context):
        yield from map(scored, itertools.islice(requests, 20))
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    results: list[SnippetScores] = []
    with pytest.raises(StreamInterrupted, match="UNAVAILABLE"):
        collect(
            serve(drain).target,
            rgb_model,
            map(snippet, itertools.count()),
            results,
            group_size=1,
        )

    assert len(results) == 20


@pytest.mark.parametrize("group_size", [None, 1, 2])
def test_a_stream_that_ends_while_the_input_is_awaited_ends_at_once(serve, rgb_model, group_size):
    def drain(requests, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    async def half_a_group():
        yield snippet(0)
        await asyncio.Event().wait()

    with pytest.raises(DaemonUnavailable, match="draining"):
        collect_async(serve(drain).target, rgb_model, half_a_group(), [], group_size=group_size)


@both
def test_a_draining_daemon_interrupts_the_stream_after_its_answers(serve, rgb_model, collect):
    def drain(requests, context):
        accepted = [next(requests) for _ in range(4)]
        yield from map(scored, accepted[:3])
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    results: list[SnippetScores] = []
    with pytest.raises(StreamInterrupted, match="draining") as caught:
        collect(
            serve(drain).target,
            rgb_model,
            snippets(4),
            results,
            max_in_flight=4,
            group_size=1,
        )

    assert len(results) == 3
    assert (caught.value.answered, caught.value.unanswered) == (3, 1)


@both
def test_a_stream_that_ends_well_but_early_is_interrupted(serve, rgb_model, collect):
    def answer_three(requests, context):
        accepted = [next(requests) for _ in range(4)]
        return map(scored, accepted[:3])

    with pytest.raises(StreamInterrupted, match="ended early with OK") as caught:
        collect(serve(answer_three).target, rgb_model, snippets(4), [], group_size=1)

    assert (caught.value.answered, caught.value.unanswered) == (3, 1)


@both
def test_replies_out_of_order_are_reported(serve, rgb_model, collect):
    def swap(requests, context):
        first, second = next(requests), next(requests)
        yield from map(scored, (second, first))

    with pytest.raises(BadReply, match=r"'cam/0', got one for 'cam/1'.*out of order"):
        collect(serve(swap).target, rgb_model, snippets(2), [], group_size=1)


@both
def test_a_reply_with_a_wrong_id_is_reported(serve, rgb_model, collect):
    def rename(requests, context):
        return (scored(request, snippet_id="other") for request in requests)

    with pytest.raises(BadReply, match="got one for 'other'"):
        collect(serve(rename).target, rgb_model, snippets(2), [])


@both
def test_a_reply_too_many_is_reported(serve, rgb_model, collect):
    def repeat(requests, context):
        for request in requests:
            yield scored(request)
            yield scored(request)

    with pytest.raises(BadReply):
        collect(serve(repeat).target, rgb_model, snippets(1), [])


@both
def test_a_stream_to_an_unreachable_target_says_so(rgb_model, collect):
    with pytest.raises(DaemonUnavailable, match=NOBODY):
        collect(NOBODY, rgb_model, map(snippet, itertools.count()), [])


def test_closing_the_client_interrupts_its_streams(serve, rgb_model):
    client = Client(serve().target)
    stream = client.score_stream(rgb_model, map(snippet, itertools.count()))
    next(stream)

    client.close()

    with pytest.raises(StreamInterrupted, match="CANCELLED"):
        list(stream)


async def test_closing_the_async_client_interrupts_its_streams(serve, rgb_model):
    client = AsyncClient(serve().target)
    stream = client.score_stream(rgb_model, map(snippet, itertools.count()))
    await anext(stream)

    await client.close()

    with pytest.raises(StreamInterrupted, match="CANCELLED"):
        [result async for result in stream]


class Cancellations:
    """A stream handler that answers everything and notes when its call was cancelled."""

    def __init__(self):
        self.seen = threading.Event()

    def __call__(self, requests, context):
        context.add_callback(self.seen.set)
        return map(scored, requests)


def threads_left(before):
    """Threads that are still alive a while later; the toy daemon's own do not count."""
    ours = [
        thread
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith("toy-daemon")
    ]
    for thread in ours:
        thread.join(5)
    return [thread for thread in ours if thread.is_alive()]


async def tasks_left(before):
    """Tasks that are still pending a while later; gRPC needs a moment to hear of the end."""
    ours = asyncio.all_tasks() - before
    return (await asyncio.wait(ours, timeout=5))[1] if ours else ours


def test_leaving_a_stream_cancels_the_call_and_leaves_no_thread(serve, rgb_model):
    cancellations = Cancellations()
    with Client(serve(cancellations).target) as client:
        client.models()
        before = threading.enumerate()

        for result in client.score_stream(rgb_model, map(snippet, itertools.count())):
            if result.snippet_id == "cam/20":
                break

        assert cancellations.seen.wait(5)
        assert threads_left(before) == []


def test_a_finished_stream_leaves_no_thread(serve, rgb_model):
    with Client(serve().target) as client:
        client.models()
        before = threading.enumerate()

        assert len(list(client.score_stream(rgb_model, snippets(20)))) == 20

        assert threads_left(before) == []


def test_a_stream_pulls_its_input_in_the_callers_thread(serve, rgb_model):
    pullers = set()

    def feed():
        for index in range(20):
            pullers.add(threading.current_thread())
            yield snippet(index)

    collect_sync(serve().target, rgb_model, feed(), [])

    assert pullers == {threading.current_thread()}


async def test_closing_an_async_stream_cancels_the_call_and_leaves_no_task(serve, rgb_model):
    cancellations = Cancellations()
    async with AsyncClient(serve(cancellations).target) as client:
        await client.models()
        before = asyncio.all_tasks()

        stream = client.score_stream(rgb_model, map(snippet, itertools.count()))
        async with contextlib.aclosing(stream) as results:
            async for result in results:
                if result.snippet_id == "cam/20":
                    break

        assert await tasks_left(before) == set()
        assert await asyncio.to_thread(cancellations.seen.wait, 5)


async def test_leaving_an_async_stream_cancels_the_call_too(serve, rgb_model):
    cancellations = Cancellations()
    async with AsyncClient(serve(cancellations).target) as client:
        async for _ in client.score_stream(rgb_model, map(snippet, itertools.count())):
            break
        gc.collect()

        assert await asyncio.to_thread(cancellations.seen.wait, 5)


async def test_an_async_stream_yields_results_while_its_input_waits(serve, rgb_model):
    answered = asyncio.Event()

    async def live_feed():
        yield snippet(0)
        await answered.wait()
        yield snippet(1)

    results = []
    async with AsyncClient(serve().target) as client, asyncio.timeout(DEADLINE_S):
        async for result in client.score_stream(rgb_model, live_feed()):
            results.append(result.snippet_id)
            answered.set()

    assert results == ["cam/0", "cam/1"]


async def test_cancelling_the_consumer_ends_an_async_stream(serve, rgb_model):
    cancellations = Cancellations()
    waiting = asyncio.Event()

    async def silent_feed():
        waiting.set()
        await asyncio.Event().wait()
        yield snippet(0)

    async def consume(client):
        async for _ in client.score_stream(rgb_model, silent_feed()):
            raise AssertionError

    async with AsyncClient(serve(cancellations).target) as client:
        consumer = asyncio.create_task(consume(client))
        await waiting.wait()
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
