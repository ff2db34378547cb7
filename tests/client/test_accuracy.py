import numpy as np
import pytest

from tsnd_client import accuracy

SCORES = [[3.0, 2.0, 1.0], [0.0, 2.0, 1.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


def test_top_k_counts_videos_whose_class_is_among_the_best():
    labels = [0, 2, 1, 1]

    assert accuracy.top_k_accuracy(SCORES, labels) == 0.25
    assert accuracy.top_k_accuracy(SCORES, labels, k=2) == 1.0


def test_mean_class_accuracy_weighs_classes_equally():
    labels = [0, 1, 0, 1]

    assert accuracy.class_accuracies(SCORES, labels).tolist()[:2] == [1.0, 0.5]
    assert accuracy.mean_class_accuracy(SCORES, labels) == 0.75


def test_a_class_without_videos_is_nan_and_left_out_of_the_mean():
    shares = accuracy.class_accuracies(SCORES, [0, 0, 0, 0])

    assert shares[0] == 0.75
    assert np.isnan(shares[1:]).all()
    assert accuracy.mean_class_accuracy(SCORES, [0, 0, 0, 0]) == 0.75


@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        ([], [], "V >= 1"),
        (SCORES, [0, 1], r"\(4, 3\) and \(2,\)"),
        (SCORES, [0, 1, 2, 3], "0 to 2, got 0 to 3"),
        (SCORES, [-1, 0, 0, 0], "got -1"),
    ],
)
def test_labels_that_do_not_fit_the_scores_are_refused(scores, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        accuracy.top_k_accuracy(scores, labels)


def test_the_best_0_classes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        accuracy.top_k_accuracy(SCORES, [0, 0, 0, 0], k=0)
