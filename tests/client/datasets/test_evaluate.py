import numpy as np
import pytest

from tsnd_client import Modality
from tsnd_client.datasets.evaluate import average, evaluate_split, stream_scores
from tsnd_client.datasets.published import PUBLISHED
from tsnd_client.datasets.report import evaluation_record, published_lines, result_lines
from tsnd_client.datasets.score_files import write_scores
from tsnd_client.fusion import FusionWeights
from tsnd_client.videos.snippet import ScoredVideo, StreamOutputs

RGB, FLOW = Modality.RGB, Modality.FLOW
BOTH = [RGB, FLOW]


def scored(place, rgb=None, flow=None):
    """A video whose two snippets have these scores on average."""
    streams = {
        modality: StreamOutputs(
            np.array([1, 7]), {"scores": np.array([scores, scores], np.float32)}, (1,)
        )
        for modality, scores in ((RGB, rgb), (FLOW, flow))
        if scores is not None
    }
    return ScoredVideo(place, f"v{place}", 30, 25.0, streams)


def some(found):
    assert found is not None
    return found


VIDEOS = [
    (scored(0, rgb=[3, 0], flow=[0, 1]), 0),
    (scored(1, rgb=[1, 0], flow=[0, 2]), 1),
    (scored(2, rgb=[2, 0]), 1),
]


def test_each_stream_is_counted_over_the_videos_that_it_has_scored():
    result = evaluate_split("s", VIDEOS, BOTH, FusionWeights(1, 1), failed=4)

    assert {stream: (a.videos, a.top1) for stream, a in result.accuracy.items()} == {
        "rgb": (3, pytest.approx(1 / 3)),
        "flow": (2, 0.5),
        "fused": (3, pytest.approx(2 / 3)),
    }
    assert result.accuracy["fused"].mean_class_accuracy == 0.75
    assert (result.partial, result.failed) == (1, 4)


def test_weights_decide_what_the_streams_disagree_on():
    result = evaluate_split("s", VIDEOS[:1], BOTH, FusionWeights(1, 4))

    assert result.accuracy["fused"].top1 == 0.0


def test_one_stream_alone_is_not_fused():
    assert list(evaluate_split("s", VIDEOS, [RGB], FusionWeights()).accuracy) == ["rgb"]


def test_splits_are_averaged_with_equal_weight():
    first = evaluate_split("1", VIDEOS[:1], BOTH, FusionWeights(), failed=1)
    second = evaluate_split("2", VIDEOS[1:], BOTH, FusionWeights())

    mean = average([first, second])

    assert mean.accuracy["rgb"].top1 == 0.5
    assert mean.accuracy["rgb"].videos == 3
    assert (mean.partial, mean.failed) == (1, 1)


def test_score_files_are_read_as_tsns_own_tools_read_them(tmp_path):
    write_scores(tmp_path / "new", "s_rgb", some(stream_scores(VIDEOS, RGB)))

    with np.load(tmp_path / "new" / "s_rgb.tsn.npz", allow_pickle=True) as file:
        scores, labels = file["scores"], file["labels"]
    assert scores.shape == (3, 2)
    # As tools/eval_scores.py: per video the mean over crops, then over snippets.
    means = np.array([video.mean(axis=1).mean(axis=0) for video in scores[:, 0]])
    assert means.tolist() == [[3, 0], [1, 0], [2, 0]]
    assert labels.tolist() == scores[:, 1].tolist() == [0, 1, 1]


def test_score_files_can_be_read_without_pickles(tmp_path):
    write_scores(tmp_path, "s_flow", some(stream_scores(VIDEOS, FLOW)))

    with np.load(tmp_path / "s_flow.npz", allow_pickle=False) as file:
        assert file["names"].tolist() == ["v0", "v1"]
        assert file["labels"].tolist() == [0, 1]
        assert (file["scores"].shape, file["scores"].dtype) == ((2, 2, 2), np.float32)


def test_a_stream_without_scores_has_no_file():
    assert stream_scores(VIDEOS[2:], FLOW) is None


def test_what_was_published_stands_beside_what_came_out():
    result = evaluate_split("s", VIDEOS, BOTH, FusionWeights())

    lines = published_lines(PUBLISHED["kinetics-bninception"], result)

    assert lines[0] == "published: Kinetics validation, BN-Inception"
    assert lines[1].split() == ["rgb", "top-1", "69.1%,", "here", "33.33%", "(-35.77)"]
    assert len(lines) == 7


def test_the_table_says_what_is_missing():
    lines = result_lines(evaluate_split("s", VIDEOS, BOTH, FusionWeights(), failed=4))

    assert lines[0] == (
        "s: 3 videos, 1 of them by one modality alone, 4 more failed and count for nothing"
    )
    assert lines[3].split() == ["flow", "50.00%", "100.00%", "50.00%"]


def test_the_record_has_shares_of_1():
    result = evaluate_split("s", VIDEOS, [RGB], FusionWeights())

    record = evaluation_record(
        [result], average([result]), PUBLISHED["ucf101-bninception-imagenet"]
    )

    assert record["average"]["accuracy"]["rgb"]["top1"] == pytest.approx(1 / 3)
    (difference,) = record["published"]["differences"]
    assert difference["difference"] == pytest.approx(0.25 * 2 - 0.854)
