import numpy as np
import pytest

from tests.client.evaluation.builders import found, truth_of
from tsnd_client.evaluation import average_recall, index_detections

TRUTH = truth_of(("a", "swim", 0.0, 10.0), ("a", "swim", 20.0, 30.0), ("b", "swim", 0.0, 10.0))


def curve(*rows, **options):
    return average_recall(index_detections(found(*rows), TRUTH)[0], TRUTH, **options)


def test_recall_rises_with_the_proposals_that_are_kept():
    result = curve(
        ("a", "swim", 0.0, 10.0, 0.9),
        ("a", "swim", 20.0, 30.0, 0.8),
        ("b", "swim", 50.0, 60.0, 0.9),
        ("b", "swim", 0.0, 10.0, 0.8),
    )

    assert result.proposals_per_video[-1] == 2
    assert result.average[48] == 0  # 0.98 proposals per video: none
    assert result.average[49:99] == pytest.approx(np.full(50, 1 / 3))
    assert result.average[99] == 1


def test_an_instance_counts_as_found_whatever_the_class():
    truth = truth_of(("a", "swim", 0.0, 10.0), labels=["dive", "swim"])
    predictions, _ = index_detections(found(("a", "dive", 0.0, 8.0, 1.0)), truth)

    result = average_recall(predictions, truth)

    assert result.recall[:, -1].tolist() == [1] * 7 + [0] * 3  # 0.8 reaches 0.5 to 0.8


def test_every_video_keeps_the_same_share_of_its_proposals():
    many = [("a", "swim", 100.0 + place, 101.0 + place, 0.9 - place / 100) for place in range(5)]
    rows = [*many, ("a", "swim", 0.0, 10.0, 0.1), *[("b", "swim", 0.0, 10.0, 0.5)] * 6]

    result = curve(*rows, proposals_per_video=3)

    assert result.proposals_per_video[-1] == 3
    assert result.average[-1] == pytest.approx(1 / 3)  # the sixth of "a" is not kept


def test_without_proposals_all_is_zero():
    result = curve(proposals_per_video=100)

    assert result.area == 0
    assert result.recall.shape == (10, 100)
    assert not result.recall.any()


def test_the_curve_is_read_between_its_points_and_not_beyond_its_end():
    result = curve(*[("a", "swim", 0.0, 10.0, 0.5), ("b", "swim", 0.0, 10.0, 0.5)] * 2)

    assert result.at(1) == pytest.approx(2 / 3)
    assert result.at(2) == pytest.approx(2 / 3)
    assert np.isnan(result.at(3))
