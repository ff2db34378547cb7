import numpy as np
import pytest

from tsnd_builder.parity import compare

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(4, 10))


def test_a_result_agrees_with_itself():
    agreement = compare(SCORES, SCORES)

    assert (agreement.max_error, agreement.mean_error) == (0, 0)
    assert agreement.cosine == pytest.approx(1)
    assert (agreement.top1, agreement.top5) == (1, 1)


def test_errors_are_relative_to_the_largest_reference():
    agreement = compare([[1.0, -4.0], [0.5, 2.0]], [[1.0, -4.0], [0.0, 2.0]])

    assert agreement.max_error == 0.5 / 4
    assert agreement.mean_error == 0.5 / 4 / 4


def test_cosine_is_that_of_the_worst_row():
    assert compare([[1, 0], [0, 1]], [[1, 0], [1, 0]]).cosine == 0
    assert compare([[2.0, 2.0]], [[1.0, 1.0]]).cosine == pytest.approx(1)


def test_rows_of_zeros_agree_with_each_other_alone():
    assert compare(np.zeros((1, 3)), np.zeros((1, 3))).cosine == 1
    assert compare(np.ones((1, 3)), np.zeros((1, 3))).cosine == 0


def test_top1_and_top5_count_shared_places():
    reference = np.arange(12.0).reshape(2, 6)
    result = reference.copy()
    result[0, 0] = 99.0

    agreement = compare(result, reference)

    assert agreement.top1 == 0.5
    assert agreement.top5 == pytest.approx(0.9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reference", [0.0, 1.0])
def test_what_is_no_number_is_no_small_error(bad, reference):
    assert not np.isfinite(compare([[bad, 1.0]], [[reference, 1.0]]).max_error)


def test_a_first_place_is_clear_when_it_leads_by_the_margin():
    reference = [[10.0, 0.0], [1.0, 1.9], [1.0, 2.1]]  # of the largest, 10

    agreement = compare([[10.0, 0.0], [1.0, 0.0], [1.0, 0.0]], reference, margin=0.1)

    assert agreement.top1 == pytest.approx(1 / 3)
    assert agreement.clear_top1 == 0.5
    assert compare([[0.0, 1.0]], [[1.0, 1.0]], margin=0.1).clear_top1 == 1
    assert compare([[3.0]], [[-7.0]], margin=0.5).clear_top1 == 1


def test_rows_of_any_shape_are_compared_whole():
    assert compare(np.ones((2, 3, 4)), np.ones((2, 3, 4))).max_error == 0
    with pytest.raises(ValueError, match="has a reference of"):
        compare(np.ones((2, 3)), np.ones((3, 2)))
