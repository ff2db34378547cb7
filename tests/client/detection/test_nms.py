import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd_client.detection import suppress
from tsnd_client.errors import DetectionError


def test_the_best_span_stays_and_what_overlaps_it_goes():
    spans = [[0, 10], [1, 11], [20, 30]]

    assert suppress(spans, [1, 3, 2], 0.5).tolist() == [1, 2]


def test_an_overlap_of_exactly_the_threshold_stays():
    # 2 of 10 are common: 0.2.
    assert suppress([[0, 6], [4, 10]], [2, 1], 0.2).tolist() == [0, 1]
    assert suppress([[0, 6], [4, 10]], [2, 1], 0.19).tolist() == [0]


def test_with_units_the_last_tick_belongs_to_the_span():
    # [0, 9] has ten ticks, [5, 9] five of them.
    assert suppress([[0, 9], [5, 9]], [2, 1], 0.5, unit=1).tolist() == [0, 1]
    assert suppress([[0, 9], [5, 9]], [2, 1], 0.49, unit=1).tolist() == [0]


def test_of_equal_scores_the_later_span_stays():
    assert suppress([[0, 10], [1, 11], [0, 9]], [1, 1, 1], 0.2).tolist() == [2]


def test_no_spans_are_fine():
    assert suppress([], [], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("spans", "scores", "message"),
    [
        ([[3, 2]], [1], "from 3 to 2.*end after it starts"),
        ([[2, 2]], [1], "from 2 to 2"),
        ([[0, 1]], [1, 2], r"expected an array \[1\], got \[2\]"),
        ([[0, 1]], [float("nan")], r"scores of spans: the number at \(0,\) is nan"),
        ([[0, float("inf")]], [1], r"spans: the number at \(0, 1\) is inf"),
        ([[0, 1, 2]], [1], r"\[rows, 2\]"),
        ([["a", "b"]], [1], "expected numbers"),
        ([[0, 1], [2]], [1, 2], "expected numbers of one shape"),
    ],
)
def test_spans_that_cannot_be_compared_are_refused(spans, scores, message):
    with pytest.raises(DetectionError, match=message):
        suppress(spans, scores, 0.5)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(-3, 3)), max_size=25),
    st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0]),
)
def test_a_span_goes_exactly_when_a_better_one_that_stays_overlaps_it(rows, threshold):
    spans = np.array([(start, start + length) for start, length, _ in rows], float).reshape(-1, 2)
    scores = [score for _, _, score in rows]

    kept = suppress(spans, scores, threshold).tolist()

    expected: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: (-scores[index], -index)):
        if all(iou(spans[index], spans[other]) <= threshold for other in expected):
            expected.append(index)
    assert kept == expected


def iou(one, other):
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)
