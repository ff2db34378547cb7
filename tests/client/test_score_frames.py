import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import bad, full, good, message
from tsnd_client import Client, Priority, SnippetRejected
from tsnd_client.results import ScoredSnippet
from tsnd_client.score_frames import MAX_WAIT_S, PATIENCE_S, score_frames
from tsnd_client.sources.base import Frame


def grey_frames(count):
    for i in range(count):
        yield Frame(index=10 * i, time_s=float(i), bgr=np.full((48, 64, 3), i, np.uint8))


class Time:
    """A clock that only sleeping moves, and the sleeps."""

    def __init__(self):
        self.now_s = 100.0
        self.slept_s = []

    def sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_s += seconds

    def clock_s(self):
        return self.now_s


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def score(serve, rgb_model, time):
    """Score grey frames: score(stream_handler, count) gives the results and the requests."""

    def run(handler, count=3, *, max_in_flight=16, **options):
        running = serve(handler)
        with Client(running.target, max_in_flight=max_in_flight) as client:
            results = score_frames(
                client,
                rgb_model,
                grey_frames(count),
                sleep=time.sleep,
                clock_s=time.clock_s,
                **options,
            )
            return list(results), running.daemon.requests

    return run


class NoRoom:
    """A stream handler that has no room for some snippets for the first few times."""

    def __init__(self, *ids, times=1, retry_after_s=0.5):
        self._left = dict.fromkeys(ids, times)
        self._retry_after_s = retry_after_s

    def __call__(self, requests, context):
        for request in requests:
            yield message(*map(self._answer, request.snippets))

    def _answer(self, snippet):
        if not self._left.get(snippet.id):
            return good(snippet)
        self._left[snippet.id] -= 1
        return full(snippet, self._retry_after_s)


def everything_fits(requests, context):
    for request in requests:
        yield message(*map(good, request.snippets))


@pytest.mark.parametrize("group_size", [1, 2])
def test_frames_are_resized_scored_and_keep_their_place(score, group_size):
    results, requests = score(everything_fits, group_size=group_size, priority=Priority.BULK)

    assert [(r.snippet_id, r.frame_index, r.time_s, r.scores[0], r.version) for r in results] == [
        ("frame/0", 0, 0.0, 0, 3),
        ("frame/10", 10, 1.0, 1, 3),
        ("frame/20", 20, 2.0, 2, 3),
    ]
    assert {request.priority for request in requests} == {2}
    assert max(len(request.snippets) for request in requests) == group_size


def test_frames_after_a_rejected_one_keep_their_place(score, time):
    def reject_second(requests, context):
        for request in requests:
            yield message(*((bad if s.id == "frame/10" else good)(s) for s in request.snippets))

    (_, second, third), _ = score(reject_second)

    assert isinstance(second, SnippetRejected)
    assert isinstance(third, ScoredSnippet)
    assert third.frame_index == 20
    assert time.slept_s == []


@pytest.mark.parametrize("group_size", [1, 4])
def test_a_frame_without_room_is_sent_again_after_the_wait_asked_for(score, time, group_size):
    results, _ = score(NoRoom("frame/10", times=2), 50, group_size=group_size)

    assert sorted(r.frame_index for r in results) == [10 * i for i in range(50)]
    assert all(r.scores[0] == r.frame_index // 10 for r in results)
    assert time.slept_s == [0.5, 0.5]


def test_nothing_more_is_sent_than_was_in_flight_when_room_ran_out(score, time):
    sent_before_the_wait = []

    class Full(NoRoom):
        def _answer(self, snippet):
            if not time.slept_s:
                sent_before_the_wait.append(snippet.id)
            return super()._answer(snippet)

    results, _ = score(Full("frame/0"), 200, max_in_flight=4)

    assert len(results) == 200
    assert len(sent_before_the_wait) <= 4


def test_the_longest_wait_asked_for_is_kept_within_bounds(score, time):
    score(NoRoom("frame/0", retry_after_s=999))

    assert time.slept_s == [MAX_WAIT_S]


def test_frames_are_rejected_when_there_is_no_room_for_too_long(score, time):
    def never(requests, context):
        for request in requests:
            yield message(*(full(snippet, retry_after_s=1) for snippet in request.snippets))

    results, _ = score(never, 3)

    assert [type(result) for result in results] == [SnippetRejected] * 3
    assert sum(time.slept_s) == PATIENCE_S


def test_patience_begins_anew_with_every_frame_that_is_scored(score, time):
    times = int(PATIENCE_S / MAX_WAIT_S) - 1
    no_room = NoRoom("frame/0", "frame/10", times=times, retry_after_s=60)

    results, _ = score(no_room, 2, max_in_flight=1)

    assert [r.frame_index for r in results] == [0, 10]
    assert sum(time.slept_s) > PATIENCE_S


def test_no_room_without_a_time_to_try_again_is_a_rejection(score, time):
    def refuse(requests, context):
        for request in requests:
            yield message(*(bad(s, grpc.StatusCode.RESOURCE_EXHAUSTED) for s in request.snippets))

    results, _ = score(refuse)

    assert [type(result) for result in results] == [SnippetRejected] * 3
    assert time.slept_s == []
