"""Streams that go on, at a toy daemon that has no room, stops or breaks off when it is told to."""

import asyncio
from collections import deque
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client.toy_daemon import bad, full, good, message
from tsnd_client import (
    AsyncClient,
    BadReply,
    Client,
    DaemonUnavailable,
    FrameMismatch,
    RetriesExhausted,
    Retrying,
    SnippetRejected,
    StreamInterrupted,
    score_resiliently,
    score_resiliently_async,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

PASSING = ("score", "no room", "engine lost", "drain", "end", "no room for the stream")


class Script:
    """A stream handler that does with each snippet that comes what is next in its script."""

    def __init__(self, *actions, afterwards="score", retry_after_s=0.5):
        self.actions, self.afterwards = deque(actions), afterwards
        self.retry_after_s = retry_after_s
        self.streams = []

    def __call__(self, requests, context):
        came: list[str] = []
        self.streams.append(came)
        for request in requests:
            for snippet in request.snippets:
                came.append(snippet.id)
                action = self.actions.popleft() if self.actions else self.afterwards
                match action:
                    case "score":
                        yield message(good(snippet))
                    case "no room":
                        yield message(full(snippet, self.retry_after_s))
                    case "engine lost":
                        yield message(bad(snippet, UNAVAILABLE))
                    case "reject":
                        yield message(bad(snippet))
                    case "drain":
                        context.abort(UNAVAILABLE, "draining")
                    case "no room for the stream":
                        context.abort(RESOURCE_EXHAUSTED, "too many streams")
                    case "break":
                        context.abort(grpc.StatusCode.INTERNAL, "broken")
                    case "end":
                        return


class Time:
    """A clock that only sleeping moves, and the sleeps."""

    def __init__(self):
        self.now_s = 100.0
        self.slept_s = []

    def sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds):
        self.sleep(seconds)

    def clock_s(self):
        return self.now_s


class Source:
    """Named frames that can be told apart; knows how far ahead of the results it was pulled."""

    def __init__(self, count):
        self.count, self.pulled, self.given, self.most_ahead = count, 0, 0, 0

    def __iter__(self):
        for number in range(self.count):
            self.pulled += 1
            self.most_ahead = max(self.most_ahead, self.pulled - self.given)
            yield str(number), np.full((6, 8, 3), number, np.uint8)


@dataclass(frozen=True)
class Case:
    actions: list[str]
    count: int
    max_in_flight: int
    group_size: int | None


CASES = st.builds(
    Case,
    actions=st.lists(st.sampled_from(PASSING), max_size=25),
    count=st.integers(0, 20),
    max_in_flight=st.integers(1, 7),
    group_size=st.none() | st.integers(1, 4),
)
PROVEN = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def score(serve, rgb_model, time):
    """Score frames with a script: score(script, snippets) gives the results."""

    def run(script, snippets, *, max_in_flight=16, **options):
        target = serve(script).target
        with Client(target, max_in_flight=max_in_flight) as client:
            results = score_resiliently(
                client,
                rgb_model,
                snippets,
                sleep=time.sleep,
                clock_s=time.clock_s,
                draw=lambda: 0.0,
                **options,
            )
            return list(results)

    return run


def assert_each_is_scored_in_its_place(results, count):
    assert [result.snippet_id for result in results] == [str(number) for number in range(count)]
    assert [result.scores[0] for result in results] == list(range(count))


@pytest.mark.parametrize("trouble", PASSING[1:])
@pytest.mark.parametrize("group_size", [None, 1, 3])
def test_every_trouble_that_passes_is_outlived(score, time, trouble, group_size):
    script = Script("score", trouble, "score", trouble, trouble)

    results = score(script, Source(20), group_size=group_size, max_in_flight=6)

    assert_each_is_scored_in_its_place(results, 20)
    assert time.slept_s


@PROVEN
@given(CASES)
def test_none_is_lost_none_is_doubled_and_order_is_kept(scripted, rgb_model, case):
    target, script = scripted
    script.actions = deque(case.actions)
    source = Source(case.count)
    results = []
    with Client(target, max_in_flight=case.max_in_flight) as client:
        for result in score_resiliently(
            client, rgb_model, source, group_size=case.group_size, sleep=lambda seconds: None
        ):
            source.given += 1
            results.append(result)

    assert_each_is_scored_in_its_place(results, case.count)
    assert source.most_ahead <= case.max_in_flight
    assert source.pulled == case.count


@PROVEN
@given(CASES)
def test_the_same_holds_on_asyncio(scripted, rgb_model, case):
    target, script = scripted
    script.actions = deque(case.actions)
    source = Source(case.count)

    async def snippets():
        for snippet in source:
            await asyncio.sleep(0)
            yield snippet

    async def run():
        results = []
        async with AsyncClient(target, max_in_flight=case.max_in_flight) as client:
            async for result in score_resiliently_async(
                client,
                rgb_model,
                snippets(),
                sleep=lambda _: asyncio.sleep(0),
            ):
                source.given += 1
                results.append(result)
        return results

    assert_each_is_scored_in_its_place(asyncio.run(run()), case.count)
    # While a result is on its way to the loop above, the next snippet is pulled.
    assert source.most_ahead <= case.max_in_flight + 1


@pytest.fixture
def scripted(serve):
    script = Script()
    return serve(script).target, script


def test_the_wait_that_the_daemon_asked_for_is_waited(score, time):
    score(Script("no room", "no room", retry_after_s=0.5), Source(2), max_in_flight=1)

    assert time.slept_s == [0.5, 0.5]


def test_waits_double_while_nothing_is_answered(score, time):
    score(Script(*["drain"] * 4, "score", "drain"), Source(2), max_in_flight=1)

    assert time.slept_s == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.05])


def test_only_what_was_not_answered_is_sent_again(score):
    script = Script("score", "no room", "score", "score")

    score(script, Source(4), max_in_flight=4)

    assert script.streams[0] == ["0", "1", "2", "3"]
    assert script.streams[1] == ["1"]


def test_nothing_more_is_sent_when_room_has_run_out(score):
    script = Script("no room")

    score(script, Source(200), max_in_flight=4)

    assert len(script.streams[0]) <= 4


def test_lack_of_room_halves_what_is_in_flight_and_answers_win_it_back(score):
    script = Script("no room")

    results = score(script, Source(200), max_in_flight=8)

    assert_each_is_scored_in_its_place(results, 200)
    filling, again, half, whole = map(len, script.streams)
    assert (filling, again) == (8, 1)
    # From 4 to 8 it grows in 4 + 5 + 6 + 7 answers; what is in flight then comes on top.
    assert 22 <= half <= 30
    assert whole == 192 - half


def test_a_stop_of_the_daemon_does_not_shrink_the_window(score):
    script = Script("drain")

    score(script, Source(100), max_in_flight=8)

    assert len(script.streams) == 2


def test_a_daemon_that_never_comes_back_is_given_up(rgb_model, time):
    with Client("127.0.0.1:1") as client:
        results = score_resiliently(
            client, rgb_model, Source(1), sleep=time.sleep, clock_s=time.clock_s, draw=lambda: 0.0
        )
        with pytest.raises(
            RetriesExhausted, match=r"gave up after 60 s .* no daemon serves at"
        ) as caught:
            list(results)

    assert isinstance(caught.value.__cause__, DaemonUnavailable)
    assert 60 <= sum(time.slept_s) < 65


def test_snippets_are_rejected_when_there_is_no_room_for_too_long(score, time):
    results = score(Script(afterwards="no room", retry_after_s=1), Source(3))

    assert [type(result) for result in results] == [SnippetRejected] * 3
    assert [result.snippet_id for result in results] == ["0", "1", "2"]
    assert sum(time.slept_s) == 60


def test_patience_begins_anew_with_every_answer(score, time):
    actions = ["no room"] * 11 + ["score"] + ["no room"] * 11

    results = score(Script(*actions, retry_after_s=99), Source(2), max_in_flight=1)

    assert_each_is_scored_in_its_place(results, 2)
    assert time.slept_s == [5.0] * 22


def test_patience_does_not_run_while_nothing_fails(score, time):
    def slow_input():
        for snippet in Source(3):
            time.now_s += 1000
            yield snippet

    results = score(Script("score", "drain"), slow_input(), max_in_flight=1)

    assert_each_is_scored_in_its_place(results, 3)


def test_no_room_without_a_time_to_try_again_is_a_rejection(score, time):
    def refuse(requests, context):
        for request in requests:
            yield message(*(bad(s, RESOURCE_EXHAUSTED) for s in request.snippets))

    results = score(refuse, Source(3))

    assert [type(result) for result in results] == [SnippetRejected] * 3
    assert time.slept_s == []


def test_a_rejected_snippet_has_its_place_behind_one_that_is_sent_again(score):
    first, second, third = score(Script("no room", "reject", "score"), Source(3))

    assert (first.snippet_id, third.snippet_id) == ("0", "2")
    assert isinstance(second, SnippetRejected)


def test_a_stream_that_is_broken_for_good_is_not_tried_again(score, time):
    with pytest.raises(StreamInterrupted, match="INTERNAL"):
        score(Script("score", "break"), Source(5))

    assert time.slept_s == []


def test_a_daemon_that_breaks_its_promise_is_not_tried_again(score):
    def wrong_names(requests, context):
        for request in requests:
            yield message(*(good(snippet, "another") for snippet in request.snippets))

    with pytest.raises(BadReply):
        score(wrong_names, Source(5))


def results_until_error(results, error):
    seen = []
    with pytest.raises(error):
        for result in results:
            seen.append(result.snippet_id)
    return seen


@pytest.mark.parametrize(
    ("bad_input", "error"),
    [
        (lambda: (_ for _ in ()).throw(OSError("the camera is gone")), OSError),
        (lambda: iter([("2", np.zeros((1, 1, 3), np.uint8))]), FrameMismatch),
    ],
)
def test_what_the_input_raises_comes_after_what_had_to_be_sent_again(
    serve, rgb_model, time, bad_input, error
):
    def snippets():
        yield from Source(2)
        yield from bad_input()

    with Client(serve(Script("no room", "drain")).target) as client:
        results = score_resiliently(
            client, rgb_model, snippets(), sleep=time.sleep, clock_s=time.clock_s
        )
        assert results_until_error(results, error) == ["0", "1"]


def test_pixels_may_be_overwritten_once_they_are_given(score):
    pixels = np.zeros((6, 8, 3), np.uint8)

    def one_buffer():
        for number in range(6):
            pixels[:] = number
            yield str(number), pixels

    results = score(Script("no room", "score", "drain"), one_buffer(), max_in_flight=4)

    assert_each_is_scored_in_its_place(results, 6)


def test_every_wait_is_told_with_its_reason(score):
    told = []

    score(
        Script("drain"),
        Source(2),
        on_wait=lambda reason, wait_s: told.append((str(reason), wait_s)),
    )

    ((reason, wait_s),) = told
    assert "draining" in reason
    assert wait_s == 0.05


def test_an_empty_input_has_no_results(score):
    assert score(Script(), Source(0)) == []


def test_what_is_being_pulled_is_not_lost_to_a_stream_that_ends(serve, rgb_model):
    """A snippet that is awaited while the daemon stops is sent on the next stream."""
    script = Script("score", "drain")

    async def run():
        stopped = asyncio.Event()

        async def slow_input():
            yield "0", np.full((6, 8, 3), 0, np.uint8)
            yield "1", np.full((6, 8, 3), 1, np.uint8)
            await stopped.wait()
            yield "2", np.full((6, 8, 3), 2, np.uint8)

        async with AsyncClient(serve(script).target) as client:
            stream = score_resiliently_async(
                client,
                rgb_model,
                slow_input(),
                on_wait=lambda reason, wait_s: stopped.set(),
                sleep=lambda _: asyncio.sleep(0),
            )
            return [result async for result in stream]

    assert_each_is_scored_in_its_place(asyncio.run(run()), 3)


def test_another_patience_can_be_asked_for(rgb_model, time):
    with Client("127.0.0.1:1") as client:
        results = score_resiliently(
            client,
            rgb_model,
            Source(1),
            retrying=Retrying(patience_s=0.2),
            sleep=time.sleep,
            clock_s=time.clock_s,
        )
        with pytest.raises(RetriesExhausted, match=r"gave up after 0\.2 s"):
            list(results)
