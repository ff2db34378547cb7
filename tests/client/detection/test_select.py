import math
from dataclasses import replace

import numpy as np
import pytest

from tsnd_client.detection import (
    ACTIVITYNET12,
    THUMOS14,
    THUMOS14_LABELS,
    Detection,
    ProposalScores,
    SsnSettings,
    align_class_scores,
    fuse,
    select,
    settings_of,
)
from tsnd_client.errors import DetectionError

TWO = SsnSettings(classes=2, top_k=10, nms_threshold=0.5)


def scores(relative=((0.0, 0.4), (0.5, 1.0)), activity=None, completeness=None, regression=None):
    count = len(relative)
    return ProposalScores.checked(
        relative,
        np.zeros((count, 3)) if activity is None else activity,
        np.zeros((count, 2)) if completeness is None else completeness,
        regression,
    )


def test_usually_the_background_is_left_out_before_the_softmax():
    found = select(scores([[0, 1]], [[9, math.log(3), 0]], [[math.log(2), 0]]), TWO)

    np.testing.assert_allclose(found.scores, [0.75 * 2, 0.25])
    assert found.classes.tolist() == [0, 1]


def test_where_all_pairs_stay_the_background_counts():
    activity = [[math.log(4), math.log(3), math.log(1)]]

    found = select(scores([[0, 1]], activity), replace(TWO, top_k=None))

    np.testing.assert_allclose(found.scores, [3 / 8, 1 / 8])


def test_only_the_best_pairs_of_a_video_stay():
    activity = [[0, 5, 0], [0, 0, 9]]

    found = select(scores(activity=activity), replace(TWO, top_k=2))

    assert found.classes.tolist() == [0, 1]
    assert found.relative.tolist() == [[0, 0.4], [0.5, 1]]


def test_a_classifier_chooses_classes():
    activity = [[0, 2, 1], [0, 4, 3]]

    plain = select(
        scores(activity=activity),
        replace(TWO, softmax_before_filter=False),
        class_scores=[0.1, 0.9],
    )

    assert plain.classes.tolist() == [1, 1]
    assert plain.scores.tolist() == [3, 1]


def test_with_a_classifier_activity_can_be_a_probability_with_the_background():
    found = select(scores([[0, 1]], [[math.log(2)] * 3]), TWO, class_scores=[1, 0])

    np.testing.assert_allclose(found.scores, [1 / 3])


def test_suppression_comes_before_regression_and_not_after():
    proposals = [[0.0, 0.4], [0.5, 0.9]]
    # Both move onto the same span.
    regression = np.zeros((2, 2, 2))
    regression[0, :, 0] = 1.25

    found = select(scores(proposals, regression=regression), replace(TWO, top_k=None))

    np.testing.assert_allclose(found.relative, [[0.5, 0.9]] * 4)


def test_regression_shifts_by_lengths_stretches_exponentially_and_ends_with_the_video():
    regression = np.array([[[0.25, math.log(2)], [-1.0, 0.0]]])

    found = select(scores([[0.2, 0.6]], regression=regression), TWO)

    # Centre 0.4 + 0.4 / 4, length 0.8; centre 0.0, length 0.4.
    np.testing.assert_allclose(found.relative, [[0.1, 0.9], [0, 0.2]])


def test_without_regression_proposals_stay_where_they_are():
    regression = np.ones((1, 2, 2))

    found = select(scores([[0.2, 0.6]], regression=regression), replace(TWO, use_regression=False))

    assert found.relative.tolist() == [[0.2, 0.6]] * 2


def test_a_length_beyond_all_bounds_is_the_whole_video():
    regression = np.array([[[0.0, 1e4], [0.0, -1e4]]])

    found = select(scores([[0.2, 0.6]], regression=regression), TWO)

    np.testing.assert_allclose(found.relative, [[0.0, 1.0], [0.4, 0.4]])


def test_scores_too_large_to_compute_with_are_refused():
    with pytest.raises(DetectionError, match="up to 1000 are too large for exp"):
        select(scores([[0, 1]], completeness=[[1e3, 0]]), TWO)


def test_no_proposals_give_no_detections():
    found = select(scores(np.empty((0, 2))), TWO)

    assert len(found) == 0
    assert found.to_detections("v", 10, ["a", "b"]) == []


def test_detections_have_names_and_seconds_the_best_first():
    found = select(scores([[0.0, 0.5]], [[0, 0, 1]]), TWO)

    first, second = found.to_detections("v1", 20, ["run", "jump"])

    assert first == Detection("v1", 0, 10, "jump", first.score)
    assert first.score == pytest.approx(math.e / (1 + math.e))
    assert (second.label, second.score < first.score) == ("run", True)


def test_detections_need_a_label_each_and_a_video_that_lasts():
    found = select(scores(), TWO)

    with pytest.raises(DetectionError, match="1 labels, but class 1"):
        found.to_detections("v", 10, ["run"])
    with pytest.raises(DetectionError, match="lasts 0 s"):
        found.to_detections("v", 0, ["run", "jump"])


def test_modalities_are_averaged_by_their_weights_before_the_softmax():
    one = scores(activity=[[0, 1, 2], [3, 4, 5]], regression=np.ones((2, 2, 2)))
    other = scores(activity=[[5, 6, 7], [8, 9, 10]], regression=np.zeros((2, 2, 2)))

    fused = fuse([one, other], [1, 4])

    np.testing.assert_allclose(fused.activity, [[4, 5, 6], [7, 8, 9]])
    np.testing.assert_allclose(fused.regression, np.full((2, 2, 2), 0.2))  # type: ignore[arg-type]
    np.testing.assert_allclose(fuse([one, other]).activity[0], [2.5, 3.5, 4.5])


@pytest.mark.parametrize("weights", [[1], [0, 0], [-1, 2], [1, math.nan], [1, 2, 3]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(DetectionError, match="weights"):
        fuse([scores(), scores()], weights)


def test_modalities_of_other_proposals_or_with_other_regression_are_refused():
    with pytest.raises(DetectionError, match="2 proposals of 2 classes and 1 of 2"):
        fuse([scores(), scores([[0, 1]])])
    with pytest.raises(DetectionError, match="regression"):
        fuse([scores(), scores(regression=np.zeros((2, 2, 2)))])
    with pytest.raises(DetectionError, match="at least one modality"):
        fuse([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activity": np.zeros((2, 4))}, r"activity scores: expected an array \[2, 3\]"),
        ({"activity": np.full((2, 3), np.nan)}, "activity scores: the number at"),
        ({"completeness": np.zeros((3, 2))}, "expected 2 rows, one a proposal, got 3"),
        ({"completeness": np.full((2, 2), np.inf)}, "completeness scores: the number at"),
        ({"regression": np.zeros((2, 2))}, r"regression: expected an array \[2, 2, 2\]"),
        ({"relative": [[0, 1], [0.4, 0.2]]}, "proposal 1 goes from 0.4 to 0.2"),
    ],
)
def test_scores_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(DetectionError, match=message):
        scores(**changes)


def test_scores_of_other_classes_than_the_settings_are_refused():
    with pytest.raises(DetectionError, match="of 2 classes, the settings for 20"):
        select(scores(), THUMOS14)
    with pytest.raises(DetectionError, match=r"scores of classes: expected an array \[2\]"):
        select(scores(), TWO, class_scores=[1, 2, 3])


def test_a_classifier_s_labels_must_be_the_detector_s():
    assert align_class_scores({"b": 2, "a": 1}, ["a", "b"]).tolist() == [1, 2]
    with pytest.raises(DetectionError, match=r"unknown \['c'\], missing \['b'\]"):
        align_class_scores({"c": 2, "a": 1}, ["a", "b"])


def test_data_sets_have_the_settings_that_their_results_were_published_with():
    assert settings_of("thumos14") is THUMOS14
    assert settings_of("activitynet1.2") is ACTIVITYNET12
    assert len(THUMOS14_LABELS) == THUMOS14.classes == len(set(THUMOS14_LABELS))
    assert list(THUMOS14_LABELS) == sorted(THUMOS14_LABELS)
    with pytest.raises(DetectionError, match=r"no settings for 'ucf'.*thumos14"):
        settings_of("ucf")


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 0},
        {"classes": 0},
        {"class_top_k": 0},
        {"frame_interval": 0},
        {"nms_threshold": 1.1},
        {"nms_threshold": math.nan},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(DetectionError, match=next(iter(changes))):
        replace(THUMOS14, **changes)
