import numpy as np

from tests.client.toy_daemon import rejected, scored
from tsnd_client import Client, SnippetRejected
from tsnd_client.results import ScoredSnippet
from tsnd_client.score_video import score_frames
from tsnd_client.video import Frame

FRAMES = [
    Frame(index=10 * i, time_s=float(i), bgr=np.full((48, 64, 3), i, np.uint8)) for i in range(3)
]


def test_frames_are_resized_scored_and_keep_their_place(serve, rgb_model):
    with Client(serve().target) as client:
        results = list(score_frames(client, rgb_model, FRAMES))

    assert all(isinstance(result, ScoredSnippet) for result in results)
    assert [
        (result.snippet_id, result.frame_index, result.time_s, result.scores[0])
        for result in results
        if isinstance(result, ScoredSnippet)
    ] == [("frame/0", 0, 0.0, 0), ("frame/10", 10, 1.0, 1), ("frame/20", 20, 2.0, 2)]


def test_frames_after_a_rejected_one_keep_their_place(serve, rgb_model):
    def reject_second(requests, context):
        for request in requests:
            yield rejected(request) if request.snippet.id == "frame/10" else scored(request)

    with Client(serve(reject_second).target) as client:
        _, second, third = score_frames(client, rgb_model, FRAMES)

    assert isinstance(second, SnippetRejected)
    assert isinstance(third, ScoredSnippet)
    assert third.frame_index == 20
