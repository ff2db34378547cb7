import numpy as np
import pytest

from tsnd_client import consensus


def test_mean_is_taken_over_snippets_for_each_class():
    mean = consensus.mean_over_snippets([[1, 2, 3], [3, 4, 8]])

    assert mean.dtype == np.float32
    assert mean.tolist() == [2.0, 3.0, 5.5]


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], np.empty((0, 3))])
def test_mean_of_no_snippets_is_refused(scores):
    with pytest.raises(ValueError, match="S >= 1"):
        consensus.mean_over_snippets(scores)


def test_softmax_sums_to_one_along_the_last_axis():
    scores = np.random.default_rng(0).normal(size=(4, 7))

    probabilities = consensus.softmax(scores)

    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        probabilities[0, 1] / probabilities[0, 0], np.exp(scores[0, 1] - scores[0, 0]), rtol=1e-5
    )


def test_softmax_of_huge_scores_does_not_overflow():
    assert consensus.softmax([1e4, 1e4, -1e4]).tolist() == [0.5, 0.5, 0.0]


def test_top_k_gives_the_largest_first_and_ties_by_index():
    assert consensus.top_k(np.array([0.5, 2.0, 0.5, 1.0]), 3) == [(1, 2.0), (3, 1.0), (0, 0.5)]


def test_top_k_of_more_than_there_are_gives_all():
    assert len(consensus.top_k(np.array([1.0, 2.0]), 5)) == 2


def test_top_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        consensus.top_k(np.array([1.0]), 0)
