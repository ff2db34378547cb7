import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd_builder.calibration.sharing import share_out, spread, spread_order


def test_the_spread_order_of_eight_halves_again_and_again():
    assert spread_order(8) == [0, 4, 2, 6, 1, 5, 3, 7]


@given(st.integers(0, 300))
def test_the_spread_order_has_every_number_once(length):
    assert sorted(spread_order(length)) == list(range(length))


def test_every_beginning_of_the_spread_order_is_spread_evenly():
    order = spread_order(100)

    for number in range(4, 100):
        chosen = sorted(order[:number])
        gaps = [after - before for before, after in zip(chosen, [*chosen[1:], 100], strict=True)]
        assert max(gaps) <= 4 * 100 / number


@pytest.mark.parametrize(
    ("capacities", "total", "shares"),
    [
        ([25, 25, 25], 100, [25, 25, 25]),
        ([25, 25, 25], 30, [10, 10, 10]),
        ([25, 1, 25], 31, [15, 1, 15]),
        ([25, 25, 25], 31, [10, 10, 11]),
        ([25, 25], 1, [0, 1]),
        ([], 10, []),
    ],
)
def test_snippets_are_shared_out_equally(capacities, total, shares):
    assert share_out(capacities, total) == shares


@given(st.lists(st.integers(1, 30)), st.integers(1, 500))
def test_no_snippet_is_lost_and_no_video_gives_more_than_it_has(capacities, total):
    shares = share_out(capacities, total)

    assert sum(shares) == min(total, sum(capacities))
    assert all(share <= has for share, has in zip(shares, capacities, strict=True))
    free = [share for share, has in zip(shares, capacities, strict=True) if share < has]
    assert max(shares, default=0) - min(free, default=max(shares, default=0)) <= 1


def test_picks_are_from_the_middles_of_equal_spans():
    assert spread(range(25), 5) == [2, 7, 12, 17, 22]
    assert spread(range(25), 1) == [12]


@given(st.integers(1, 60), st.data())
def test_picks_are_different_and_in_order(length, data):
    number = data.draw(st.integers(0, length))

    picks = spread(range(length), number)

    assert len(picks) == number
    assert picks == sorted(set(picks))
