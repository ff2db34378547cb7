import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd_client.detection.report.layout import clock, outline, rows, ticks


@pytest.mark.parametrize(
    ("seconds", "tenths", "shown"),
    [
        (0, False, "0:00"),
        (59.6, False, "1:00"),
        (59.94, True, "0:59.9"),
        (59.96, True, "1:00.0"),
        (3599.97, True, "1:00:00.0"),
        (3725, False, "1:02:05"),
    ],
)
def test_a_clock_carries_over(seconds, tenths, shown):
    assert clock(seconds, tenths=tenths) == shown


def test_ticks_are_round_and_start_at_zero():
    assert ticks(60) == [0, 10, 20, 30, 40, 50, 60]
    assert ticks(0.5) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


@given(st.floats(0.05, 1e7))
def test_there_are_few_ticks_however_long_the_video(duration_s):
    marks = ticks(duration_s)

    assert 1 <= len(marks) <= 9
    assert marks[-1] <= duration_s * 1.001


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=30))
def test_spans_on_one_row_do_not_overlap_and_no_row_is_wasted(drawn):
    spans = sorted((start, start + length) for start, length in drawn)

    found = rows(spans)

    for row in set(found):
        on_row = [span for span, at in zip(spans, found, strict=True) if at == row]
        assert all(one[1] <= after[0] for one, after in itertools.pairwise(on_row))
    crowds = [sum(a <= start < b for a, b in spans) for start, _ in spans]
    assert max(found, default=-1) + 1 == max(crowds, default=0)


def test_a_long_curve_is_thinned_and_keeps_its_peak():
    values = np.zeros(100_000)
    values[54_321] = 2.0

    points = outline(np.arange(100_000) / 10, values, 10_000.0)

    assert len(points) <= 600
    assert max(value for _, value in points) == 1.0
    assert max(points, key=lambda point: point[1])[0] == pytest.approx(0.54321, abs=1 / 500)


def test_a_curve_beyond_the_video_is_cut_off():
    points = outline(np.array([-1.0, 0.0, 5.0, 11.0]), np.array([1.0, 0.5, -1.0, 1.0]), 10.0)

    assert points == [(0.0, 0.5), (0.5, 0.0)]
