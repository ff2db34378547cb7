import math

import numpy as np
import pytest

from tests.client.evaluation.builders import found, truth_of
from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation import (
    PROTOCOLS,
    LeftOut,
    ListedInstance,
    ListedVideo,
    Unit,
    evaluate,
    in_unit,
    index_detections,
    listed_ground_truth,
)

TRUTH = truth_of(("pool", "Swimming", 10.0, 20.0))
GOOD = ("pool", "Swimming", 10.0, 20.0, 0.5)


def listed(**options):
    video = ListedVideo("pool", 100, (ListedInstance(1, 10, 20),), ())
    return listed_ground_truth([video], labels=None, source="a list", **options)


@pytest.mark.parametrize(
    "row",
    [
        ("pool", "Swimming", 10.0, 20.0, math.nan),
        ("pool", "Swimming", math.nan, 20.0, 0.5),
        ("pool", "Swimming", 10.0, math.inf, 0.5),
    ],
)
def test_what_is_not_finite_is_refused(row):
    with pytest.raises(EvaluationError, match="video 'pool' is not finite"):
        index_detections(found(row), TRUTH)


def test_an_end_before_its_start_is_refused():
    with pytest.raises(EvaluationError, match=r"ends before it starts: start 20\.0, end 10\.0"):
        index_detections(found(("pool", "Swimming", 20.0, 10.0, 0.5)), TRUTH)


def test_an_empty_span_is_taken_and_is_wrong():
    result = evaluate(found(("pool", "Swimming", 15.0, 15.0, 1.0)), TRUTH, PROTOCOLS["thumos14"])

    assert result.detections.tolist() == [1]
    assert result.average_map == 0


def test_an_unknown_label_is_refused_with_the_one_that_was_meant():
    strays = found(GOOD, ("pool", "Swiming", 1.0, 2.0, 0.5))

    with pytest.raises(EvaluationError, match=r"1 labels.*'Swiming'.*mean 'Swimming'"):
        index_detections(strays, TRUTH)


def test_unknown_labels_are_left_out_when_asked_for_and_counted():
    strays = found(GOOD, ("pool", "Diving", 1.0, 2.0, 0.5))

    predictions, left_out = index_detections(strays, TRUTH, skip_unknown_labels=True)

    assert len(predictions.video) == 1
    assert left_out == LeftOut(of_other_labels=1)


def test_detections_in_other_videos_are_left_out_and_counted():
    predictions, left_out = index_detections(
        found(GOOD, ("lake", "Swimming", 1.0, 2.0, 0.5)), TRUTH
    )

    assert len(predictions.video) == 1
    assert left_out == LeftOut(in_other_videos=1)


def test_results_that_name_every_video_otherwise_are_refused():
    with pytest.raises(EvaluationError, match=r"like 'pool', these like 'v_pool'"):
        index_detections(found(("v_pool", "Swimming", 10.0, 20.0, 0.5)), TRUTH)


def test_no_detections_give_zeros():
    result = evaluate([], TRUTH, PROTOCOLS["thumos14"])

    assert result.average_map == 0
    assert result.curve.area == 0
    assert result.headline == 0


def test_classes_without_instances_do_not_count_in_the_mean():
    truth = truth_of(("pool", "Swimming", 10.0, 20.0), labels=["Diving", "Swimming"])

    result = evaluate(found(GOOD), truth, PROTOCOLS["activitynet1.2"])

    assert np.isnan(result.precision[0]).all()
    assert result.mean_precision.tolist() == [1.0] * 10
    assert result.headline == 1


def test_a_list_is_brought_into_seconds_by_the_lengths_of_the_videos():
    truth = in_unit(listed(durations_s={}), Unit.SECONDS, {"pool": 50.0})

    assert truth.unit is Unit.SECONDS
    assert truth.spans.tolist() == [[5.0, 10.0]]


def test_seconds_are_brought_into_fractions():
    truth = in_unit(TRUTH, Unit.FRACTION, {"pool": 40.0})

    assert truth.spans.tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize("lengths", [{}, {"pool": 0.0}, {"pool": math.nan}])
def test_a_list_without_lengths_is_refused_where_seconds_are_needed(lengths):
    with pytest.raises(EvaluationError, match=r"length of 1 of 1 videos.*'pool'.*--durations"):
        in_unit(listed(durations_s={}), Unit.SECONDS, lengths)
