import pytest

from tsnd_client.retrying import Retrying, Window


@pytest.mark.parametrize(
    ("failures", "draw", "expected_s"),
    [
        (1, 0.0, 0.05),
        (1, 0.5, 0.075),
        (2, 0.0, 0.1),
        (4, 0.0, 0.4),
        (9, 0.0, 2.5),
        (10**6, 0.0, 2.5),
    ],
)
def test_waits_double_up_to_the_longest_and_half_of_each_is_drawn(failures, draw, expected_s):
    assert Retrying().wait_s(failures, asked_s=None, draw=draw) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("asked_s", "draw", "expected_s"),
    [(0.0, 0.5, 0.0), (2.0, 0.0, 2.0), (2.0, 0.5, 2.25), (99.0, 0.0, 5.0)],
)
def test_a_wait_that_is_asked_for_is_never_cut_but_by_the_longest(asked_s, draw, expected_s):
    assert Retrying().wait_s(7, asked_s=asked_s, draw=draw) == expected_s


def test_a_window_of_answers_makes_room_for_one_snippet_more():
    window = Window(4, most=16)

    for _ in range(5):
        window = window.grown()

    assert window.limit == 5


def test_a_window_stays_within_its_bounds():
    assert Window(16, most=16).grown() == Window(16, most=16)
    assert Window(1, most=16).halved() == Window(1, most=16)
    assert Window(5, most=16).halved().limit == 2


@pytest.mark.parametrize(
    ("size", "limit", "is_outgrown"),
    [(16, 16, False), (15, 8, False), (16, 8, True), (8, 4, True), (7, 4, False), (3, 2, True)],
)
def test_a_new_stream_is_worth_it_for_twice_the_window_or_the_largest(size, limit, is_outgrown):
    assert Window(size, most=3 if size == 3 else 16).has_outgrown(limit) is is_outgrown
