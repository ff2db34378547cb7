import numpy as np
import pytest

from tests.client.toy_daemon import bad, full, good, message
from tsnd_client import Client, Priority, SnippetRejected
from tsnd_client.results import ScoredSnippet
from tsnd_client.score_frames import score_frames
from tsnd_client.sources.base import Frame


def grey_frames(count):
    for i in range(count):
        yield Frame(index=10 * i, time_s=float(i), bgr=np.full((48, 64, 3), i, np.uint8))


@pytest.fixture
def score(serve, rgb_model):
    """Score grey frames: score(stream_handler) gives the results and the requests."""

    def run(handler, **options):
        running = serve(handler)
        with Client(running.target) as client:
            results = score_frames(client, rgb_model, grey_frames(3), **options)
            return list(results), running.daemon.requests

    return run


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


def test_frames_after_a_rejected_one_keep_their_place(score):
    def reject_second(requests, context):
        for request in requests:
            yield message(*((bad if s.id == "frame/10" else good)(s) for s in request.snippets))

    (_, second, third), _ = score(reject_second)

    assert isinstance(second, SnippetRejected)
    assert isinstance(third, ScoredSnippet)
    assert third.frame_index == 20


def test_a_frame_without_room_is_scored_later_and_keeps_its_place(score):
    refused = set()

    def no_room_at_first(requests, context):
        for request in requests:
            for snippet in request.snippets:
                if snippet.id in refused:
                    yield message(good(snippet))
                else:
                    refused.add(snippet.id)
                    yield message(full(snippet))

    results, _ = score(no_room_at_first)

    assert [(r.frame_index, r.scores[0]) for r in results] == [(0, 0), (10, 1), (20, 2)]
