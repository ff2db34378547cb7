import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsnd_client.detection import (
    TagSettings,
    actionness_curve,
    merge_actionness,
    propose,
    sliding_windows,
)
from tsnd_client.detection.tag import group
from tsnd_client.errors import DetectionError


def scores_of(curve):
    """Scores whose softmax is the curve, from probabilities of action."""
    action = np.asarray(curve, float)
    return np.stack([np.log(1 - action), np.log(action)], axis=1)


def test_the_curve_is_the_probability_of_action():
    curve = actionness_curve(scores_of([0.1, 0.5, 0.9]), sigma_ticks=0)

    np.testing.assert_allclose(curve, [0.1, 0.5, 0.9])


def test_smoothing_mirrors_the_video_at_its_ends_and_keeps_a_level_curve():
    np.testing.assert_allclose(actionness_curve(scores_of([0.3] * 2)), [0.3] * 2)
    rising = actionness_curve(scores_of(np.linspace(0.1, 0.9, 40)))
    assert np.all(np.diff(rising) > 0)
    np.testing.assert_allclose(rising + rising[::-1], 1.0)


def test_a_video_without_ticks_has_an_empty_curve_and_no_proposals():
    assert actionness_curve([]).shape == (0,)
    proposals = propose([])
    assert proposals.spans.shape == (0, 2)
    assert proposals.to_seconds(10).shape == (0, 2)
    assert proposals.to_frames(100).shape == (0, 2)


def test_a_video_of_one_tick_is_one_proposal_or_none():
    assert propose([[0, 3]]).spans.tolist() == [[0, 2]]
    assert propose([[9, 0]]).spans.tolist() == []


def test_a_curve_that_is_never_on_gives_no_proposals():
    assert len(propose(np.tile([20.0, 0.0], (50, 1))).spans) == 0


def test_an_action_amid_background_is_among_the_proposals():
    curve = np.full(100, 0.01)
    curve[40:60] = 0.99

    proposals = propose(scores_of(curve), TagSettings(sigma_ticks=0))

    # One tick longer than the run, as in the original.
    assert [40, 61] in proposals.spans.tolist()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[0.0, math.nan]], r"actionness scores: the number at \(0, 1\) is nan"),
        ([[1.0], [2.0]], "columns for background and action, got 1"),
        ([1.0, 2.0], r"\[rows, columns\]"),
    ],
)
def test_actionness_that_cannot_be_used_is_refused(scores, message):
    with pytest.raises(DetectionError, match=message):
        propose(scores)


@pytest.mark.parametrize(
    "values",
    [
        {"nms_threshold": 1.0},
        {"frame_interval": 0},
        {"thresholds": (math.nan,)},
        {"tolerances": (math.inf,)},
    ],
)
def test_settings_of_tag_that_make_no_sense_are_refused(values):
    with pytest.raises(DetectionError, match=next(iter(values))):
        TagSettings(**values)


def test_a_negative_sigma_is_refused():
    with pytest.raises(DetectionError, match="sigma_ticks must be 0 or more, got -1"):
        actionness_curve([[0, 1]], sigma_ticks=-1)


def test_proposals_are_scaled_to_seconds_and_frames_and_short_ones_left_out():
    curve = np.full(20, 0.001)
    curve[[2, 3, 10, 11, 12, 13, 14, 15]] = 0.999
    proposals = propose(scores_of(curve), TagSettings((0.5,), (0.05,), sigma_ticks=0))

    assert sorted(proposals.spans.tolist()) == [[2, 5], [10, 17]]
    assert sorted(proposals.to_seconds(10.0).tolist()) == [[1, 2.5], [5, 8.5]]
    assert proposals.to_seconds(10.0, minimum_s=1.5).tolist() == [[5, 8.5]]
    assert sorted(proposals.to_frames(99).tolist()) == [[9, 24], [49, 84]]


@settings(max_examples=100)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from(TagSettings().tolerances))
def test_grouping_equals_the_search_from_every_run(on, tolerance):
    curve = np.array(on, float)
    action = np.arange(1.0, len(on) + 1)

    found = group(curve, action, TagSettings((0.5,), (tolerance,)))

    expected = search(on, tolerance)
    assert found.spans.tolist() == [[start, end] for start, end, _, _ in expected]
    sums = [action[first:last].sum() for _, _, first, last in expected]
    np.testing.assert_allclose(found.scores, sums)


def search(on, tolerance):
    """Look from each run for the one where joining stops, one after the other."""
    padded = [False, *on, False]
    ups = [tick for tick in range(len(on)) if padded[tick + 1] and not padded[tick]]
    downs = [tick for tick in range(1, len(on) + 1) if padded[tick] and not padded[tick + 1]]
    excess = list(np.cumsum(~np.array(on)) - tolerance * np.arange(len(on)))
    excess.append(excess[-1] - tolerance)
    boxes = []
    for run, up in enumerate(ups):
        later = [y for y in range(run + 1, len(ups)) if excess[ups[y]] > excess[up]]
        end = downs[(later[0] if later else len(ups)) - 1] + 1
        boxes.append((up, end, up, end))
    for run in reversed(range(len(downs))):
        earlier = [y for y in range(run) if excess[downs[y]] < excess[downs[run]]]
        end = downs[run] + 1
        if earlier:
            start = ups[earlier[-1] + 1]
            boxes.append((start, end, start, end))
        else:
            boxes.append((ups[0], end, 0, end + 1))
    return boxes


def test_modalities_are_summed_and_brought_to_one_length():
    short = [[1, 2], [3, 4]]
    long = [[10, 10], [20, 20], [30, 30], [40, 40]]

    assert merge_actionness([short, long]).tolist() == [[11, 12], [33, 34]]
    assert merge_actionness([long, short], [1, 2]).tolist() == [[12, 14], [26, 28]]
    assert merge_actionness([short, []]).shape == (0, 2)


@pytest.mark.parametrize(
    ("streams", "weights", "message"),
    [
        ([], None, "at least one modality"),
        ([[[1, 2]], [[1, 2, 3]]], None, "2 and of 3 columns"),
        ([[[1, 2]]], [1, 2], r"weights of modalities: expected an array \[1\], got \[2\]"),
    ],
)
def test_modalities_of_actionness_that_do_not_fit_are_refused(streams, weights, message):
    with pytest.raises(DetectionError, match=message):
        merge_actionness(streams, weights)


def test_windows_of_doubling_lengths_cover_the_video():
    windows = sliding_windows(10.5)

    ones = [[start, start + 1] for start in range(10)]
    twos = [[start, start + 2] for start in range(10)]
    fours = [[start, start + 4] for start in range(0, 10, 2)]
    eights = [[0, 8], [3, 11], [6, 14], [9, 17]]
    assert windows.tolist() == [
        *ones, *twos, *fours, *eights,
        *([0, 16], [5, 21]), *([0, 32],), [0, 64], [0, 128],
    ]  # fmt: skip


def test_a_video_of_less_than_a_second_has_no_windows():
    assert sliding_windows(0.9).shape == (0, 2)
    assert sliding_windows(0).shape == (0, 2)


@pytest.mark.parametrize(
    ("duration_s", "options", "message"),
    [
        (-1, {}, "lasts -1 s"),
        (math.nan, {}, "lasts nan s"),
        (5, {"levels": 0}, "levels of at least 1"),
        (5, {"overlap": 1.0}, "overlap in"),
    ],
)
def test_windows_that_make_no_sense_are_refused(duration_s, options, message):
    with pytest.raises(DetectionError, match=message):
        sliding_windows(duration_s, **options)
