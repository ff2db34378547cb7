import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.evaluation_loop import average_precision_by_loop
from tests.client.evaluation.builders import found, truth_of
from tsnd_client.evaluation import (
    GroundTruth,
    Predictions,
    Ties,
    Unit,
    average_precision,
    index_detections,
)
from tsnd_client.evaluation import overlap as overlap_module
from tsnd_client.evaluation.overlap import temporal_iou

SWIM = ("pool", "swim", 10.0, 20.0)


def ap(detections, truth, *thresholds, **options):
    predictions, _ = index_detections(detections, truth)
    return average_precision(predictions, truth, thresholds or (0.5,), **options)


def test_the_overlap_is_the_intersection_over_the_union():
    spans = np.array([[0.0, 10.0], [0.0, 4.0], [20.0, 30.0], [5.0, 5.0]])
    instances = np.array([[5.0, 15.0], [0.0, 4.0], [0.0, 10.0], [5.0, 5.0]])

    assert temporal_iou(spans, instances).tolist() == [5 / 15, 1.0, 0.0, 0.0]


def test_a_detection_at_the_threshold_is_right():
    truth = truth_of(SWIM)

    assert ap(found(("pool", "swim", 10.0, 15.0, 1.0)), truth, 0.5, 0.51).tolist() == [[1.0, 0.0]]


def test_an_instance_is_found_once_and_by_the_surest_detection():
    truth = truth_of(SWIM, ("pool", "swim", 40.0, 50.0))
    twice = found(
        ("pool", "swim", 10.0, 20.0, 0.8),
        ("pool", "swim", 10.0, 19.0, 0.9),
        ("pool", "swim", 40.0, 50.0, 0.1),
    )

    # Right, wrong, right: recall steps at precision 1/1 and 2/3.
    assert ap(twice, truth) == pytest.approx(np.array([[(1 + 2 / 3) / 2]]))


def test_a_detection_takes_the_next_best_instance_when_the_best_is_taken():
    truth = truth_of(("pool", "swim", 0.0, 10.0), ("pool", "swim", 4.0, 14.0))
    both = found(("pool", "swim", 1.0, 11.0, 0.9), ("pool", "swim", 1.5, 11.5, 0.8))

    assert ap(both, truth) == pytest.approx(np.array([[1.0]]))


def test_videos_and_classes_do_not_mix():
    truth = truth_of(SWIM, ("lake", "dive", 0.0, 5.0))
    strays = found(("lake", "swim", 10.0, 20.0, 0.9), ("pool", "dive", 0.0, 5.0, 0.9))

    assert ap(strays, truth).tolist() == [[0.0], [0.0]]


def test_a_class_without_instances_has_no_precision_and_one_without_detections_has_zero():
    truth = truth_of(SWIM, labels=["dive", "swim"])

    assert ap(found(("pool", "dive", 0.0, 5.0, 0.9)), truth) == pytest.approx(
        np.array([[np.nan], [0.0]]), nan_ok=True
    )


def test_of_equal_scores_the_detection_given_first_comes_first_where_asked_for():
    truth = truth_of(SWIM)
    right, wrong = ("pool", "swim", 10.0, 20.0, 0.5), ("pool", "swim", 50.0, 60.0, 0.5)

    assert ap(found(right, wrong), truth, ties=Ties.FIRST).tolist() == [[1.0]]
    assert ap(found(wrong, right), truth, ties=Ties.FIRST).tolist() == [[0.5]]


@st.composite
def evaluations(draw):
    """Crowded videos on a coarse grid, so that overlaps and scores are often equal."""
    labels, videos = 2, 2
    rows = st.tuples(
        st.integers(0, videos - 1),
        st.integers(0, labels - 1),
        st.integers(0, 12),
        st.integers(1, 6),
    )
    truth_rows = draw(st.lists(rows, min_size=1, max_size=14))
    found_rows = draw(st.lists(rows, max_size=24))
    scores = draw(st.lists(st.integers(0, 9), min_size=len(found_rows), max_size=len(found_rows)))

    videos, truth_labels, spans = _columns(truth_rows)
    truth = GroundTruth(("a", "b"), ("x", "y"), videos, truth_labels, spans, Unit.SECONDS)
    videos, found_labels, spans = _columns(found_rows)
    return Predictions(videos, found_labels, spans, np.array(scores, np.float64)), truth


def _columns(table):
    array = np.array(table, np.int64).reshape(-1, 4)
    spans = np.stack([array[:, 2], array[:, 2] + array[:, 3]], axis=1).astype(np.float64)
    return array[:, 0], array[:, 1], spans


@pytest.mark.parametrize("ties", Ties)
@given(evaluation=evaluations())
def test_all_at_once_gives_what_one_after_the_other_gives(evaluation, ties):
    predictions, truth = evaluation
    thresholds = (0.1, 0.3, 0.5, 0.75, 1.0)

    expected = average_precision_by_loop(predictions, truth, thresholds, ties)

    found_at_once = average_precision(predictions, truth, thresholds, ties=ties)
    np.testing.assert_allclose(found_at_once, expected, rtol=0, atol=1e-12)


@given(evaluation=evaluations(), pairs_at_once=st.integers(1, 40))
def test_the_size_of_blocks_does_not_matter(evaluation, pairs_at_once):
    predictions, truth = evaluation
    whole = average_precision(predictions, truth, (0.3, 0.6))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap_module, "_PAIRS_AT_ONCE", pairs_at_once)
        in_blocks = average_precision(predictions, truth, (0.3, 0.6))

    np.testing.assert_array_equal(in_blocks, whole)
