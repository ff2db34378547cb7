from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsnd_client.detection import (
    Head,
    Linear,
    Pyramid,
    RegressionStatistics,
    pool_proposals,
    relative_proposals,
    reorganise,
    usable_proposals,
)
from tsnd_client.errors import DetectionError

PLAIN = Head(1, regression=None)


def test_a_tick_of_20_classes_and_3_parts_has_201_numbers():
    assert Head(20).width == 201
    assert Head(100).width == 1001
    assert Head(20, regression=None).width == 81


def test_stages_are_pooled_apart_and_cut_extensions_weigh_less():
    # Columns: background, activity, completeness of starting, course, ending.
    outputs = np.array([[0, tick, 100 * (tick + 1), 10 * tick, tick] for tick in range(8)])

    # Ticks 1 to 5 of 8; two more before, of which one is in the video, and two after.
    scores = pool_proposals(outputs, [[1 / 8, 5 / 8]], PLAIN)

    assert scores.activity.tolist() == [[0, (1 + 2 + 3 + 4) / 4]]
    assert scores.completeness.tolist() == [[100 / 2 + 10 * 2.5 + (5 + 6) / 2]]


def test_a_proposal_of_the_whole_video_has_no_extensions():
    outputs = np.array([[0, tick, 1e3, tick, 1e3] for tick in range(4)])

    assert pool_proposals(outputs, [[0, 1]], PLAIN).completeness.tolist() == [[1.5]]


def test_a_video_of_one_tick_can_be_pooled():
    scores = pool_proposals([[5, 6, 1, 2, 4]], [(0.4, 0.6), (0.0, 1.0)], PLAIN)

    assert scores.activity.tolist() == [[5, 6], [5, 6]]
    # Of the first, starting and course are that tick; ending would begin there too.
    assert scores.completeness.tolist() == [[1 + 2 + 4], [2]]


def test_regression_is_restored_with_the_statistics_of_training():
    head = Head(1, regression=RegressionStatistics(0.5, -1, 2, 3))
    outputs = np.zeros((4, head.width))
    outputs[:, head.regression_columns(1)] = [10, 20]

    scores = pool_proposals(outputs, [[0, 1]], head)

    assert scores.regression is not None
    assert scores.regression.tolist() == [[[10 * 2 + 0.5, 20 * 3 - 1]]]


def test_no_proposals_have_no_scores():
    scores = pool_proposals(np.zeros((4, Head(3).width)), [], Head(3))

    assert scores.activity.shape == (0, 4)
    assert scores.completeness.shape == (0, 3)
    assert scores.regression is not None
    assert scores.regression.shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("outputs", "proposals", "message"),
    [
        (np.zeros((0, 5)), [[0, 1]], "the video has no tick"),
        ([], [[0, 1]], "the video has no tick"),
        (np.zeros((4, 6)), [[0, 1]], "expected 5 numbers each, for 1 classes and 3 parts"),
        (np.full((4, 5), np.nan), [[0, 1]], r"outputs of ticks: the number at \(0, 0\) is nan"),
        (np.zeros((4, 5)), [[0.5, 0.2]], "proposal 0 goes from 0.5 to 0.2"),
        (np.zeros((4, 5)), [[0, 1], [0, 7]], "proposal 1 goes from 0 to 7: expected fractions"),
        (np.zeros((4, 5)), [[0, np.nan]], "proposals: the number"),
        (np.zeros(5), [[0, 1]], r"\[rows, columns\]"),
    ],
)
def test_what_cannot_be_pooled_is_refused(outputs, proposals, message):
    with pytest.raises(DetectionError, match=message):
        pool_proposals(outputs, proposals, PLAIN)


LEVELS = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@settings(max_examples=60)
@given(st.data(), LEVELS, LEVELS, LEVELS, st.integers(1, 40))
def test_pooling_equals_a_walk_over_the_ticks_of_each_part(data, starting, course, ending, ticks):
    head = Head(2, Pyramid(starting, course, ending))
    outputs = np.random.default_rng(ticks).normal(size=(ticks, head.width))
    frames = ticks * 6 + data.draw(st.integers(-5, 0))
    starts = data.draw(st.lists(st.integers(0, frames - 1), max_size=8))
    spans = [(start, data.draw(st.integers(start + 1, frames + 5))) for start in starts]
    relative = relative_proposals(spans, frames)

    scores = pool_proposals(outputs, relative, head)

    for index, span in enumerate(relative):
        activity, parts = walk(outputs, span, head)
        np.testing.assert_allclose(scores.activity[index], activity, atol=1e-9)
        np.testing.assert_allclose(scores.completeness[index], parts[:2], atol=1e-9)
        np.testing.assert_allclose(scores.regression[index].ravel(), parts[2:], atol=1e-9)  # type: ignore[index]


def walk(outputs, span, head):
    """Pool one proposal, tick by tick."""
    total = len(outputs)
    extension = 0.5 * (span[1] - span[0])
    low, high = max(0, span[0] - extension), min(1, span[1] + extension)
    ticks = [int(place * total) for place in (low, span[0], span[1], high)]
    weights = ((span[0] - low) / extension, 1, (high - span[1]) / extension)
    sums, part = np.zeros(6), 0
    stages = (head.pyramid.starting, head.pyramid.course, head.pyramid.ending)
    for stage, levels in enumerate(stages):
        first, last = ticks[stage], max(ticks[stage] + 1, ticks[stage + 1])
        for level in levels:
            edges = np.arange(first, last + 1e-5, (last - first) / level).astype(int)
            for begin, end in pairwise(edges):
                rows = outputs[begin:end]
                if len(rows):
                    sums[:2] += rows[:, head.completeness_columns(part)].mean(0) * weights[stage]
                    sums[2:] += rows[:, head.regression_columns(part)].mean(0) * weights[stage]
                part += 1
    return outputs[ticks[1] : max(ticks[1] + 1, ticks[2]), :3].mean(0), sums


def test_proposals_that_do_not_last_or_begin_after_the_end_are_left_out():
    spans = np.array([[50, 60], [5, 5], [9, 3], [100, 120], [90, 200], [-4, 10], [0, 0.9]])

    assert usable_proposals(spans, 100).tolist() == [[50, 60], [90, 100]]


def test_proposals_of_a_video_without_frames_are_refused():
    with pytest.raises(DetectionError, match="0 frames, expected at least 1"):
        usable_proposals([[0, 1]], 0)


def test_a_pyramid_is_written_as_in_the_configuration_of_ssn():
    pyramid = Pyramid.of(1, (1, 2), 1)

    assert pyramid == Pyramid((1,), (1, 2), (1,))
    assert pyramid.parts == 5


@pytest.mark.parametrize("stages", [(1, 1), (1, 0, 1), (1, (1, -2), 1)])
def test_a_pyramid_without_three_stages_of_parts_is_refused(stages):
    with pytest.raises(DetectionError):
        Pyramid.of(*stages)


def test_a_head_without_classes_is_refused():
    with pytest.raises(DetectionError, match="at least 1 class"):
        Head(0)


def test_the_reorganised_layer_scores_ticks_as_the_layers_score_proposals():
    rng = np.random.default_rng(1)
    activity = Linear(rng.normal(size=(3, 4)), rng.normal(size=3))
    completeness = Linear(rng.normal(size=(2, 12)), rng.normal(size=2))
    regression = Linear(rng.normal(size=(4, 12)), rng.normal(size=4))
    features = rng.normal(size=(3, 4))  # one tick for each of three stages
    head = Head(2)

    layer = reorganise(activity, completeness, regression, 3)
    outputs = features @ layer.weight.T + layer.bias

    parts = range(3)
    assert outputs.shape == (3, head.width)
    np.testing.assert_allclose(
        sum(outputs[part, head.completeness_columns(part)] for part in parts),
        completeness.weight @ features.ravel() + completeness.bias,
    )
    np.testing.assert_allclose(
        sum(outputs[part, head.regression_columns(part)] for part in parts),
        regression.weight @ features.ravel() + regression.bias,
    )


def test_a_layer_of_another_pyramid_is_refused():
    with pytest.raises(DetectionError, match=r"completeness.*\(2, 12\).*5 parts x 4 features"):
        reorganise(
            Linear(np.zeros((3, 4)), np.zeros(3)), Linear(np.zeros((2, 12)), np.zeros(2)), None, 5
        )
