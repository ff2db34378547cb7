import math

import pytest

from benchmarks.smoke import BOUNDS, Bound, judge, measure_all, quotients, read_bounds, report

STEADY = [0.99, 1.0, 1.01, 1.0] * 4


def test_a_median_within_its_bound_holds():
    assert judge(STEADY, Bound("cost", most=1.0)).holds
    assert judge(STEADY, Bound("share", least=1.0)).holds


def test_a_median_beyond_its_bound_fails():
    assert not judge(STEADY, Bound("cost", most=0.9)).holds
    assert not judge(STEADY, Bound("share", least=1.1)).holds


def test_noise_of_the_run_itself_excuses_what_lies_within_it():
    noisy = [0.7, 0.9, 1.1, 1.3] * 4

    assert judge(noisy, Bound("cost", most=0.95)).holds
    assert not judge(noisy, Bound("cost", most=0.7)).holds


def test_single_bad_turns_neither_fail_nor_excuse():
    assert judge([*STEADY, 9.0], Bound("cost", most=1.0)).holds
    assert not judge([*STEADY, 9.0], Bound("cost", most=0.95)).holds


def test_more_turns_leave_less_noise():
    few, many = judge(STEADY[:4], Bound("")), judge(STEADY * 4, Bound(""))

    assert many.noise < few.noise


def test_turns_are_divided_one_by_one():
    assert quotients([2.0, 6.0], [1.0, 2.0]) == [2.0, 3.0]


def test_each_committed_bound_limits_something_and_says_what():
    bounds = read_bounds(BOUNDS)

    assert set(bounds) == {"singly", "in groups of 8", "shared memory", "delivered"}
    for bound in bounds.values():
        assert bound.what
        assert math.isfinite(bound.most) != math.isfinite(bound.least)


def test_a_bound_with_a_field_that_is_none_is_refused(tmp_path):
    path = tmp_path / "bounds.toml"
    path.write_text('[singly]\nwhat = "cost"\nmaximum = 1\n')

    with pytest.raises(TypeError, match="maximum"):
        read_bounds(path)


def one_after_the_other(*runs):
    """Make a measurement that gives other ratios each time, and fails when there are no more."""
    left = iter(runs)
    return lambda: next(left)


def test_what_holds_is_measured_once():
    verdicts = measure_all([one_after_the_other({"cost": STEADY})], {"cost": Bound("", most=1.0)})

    assert [verdict.holds for verdict in verdicts["cost"]] == [True]


def test_what_fails_is_measured_once_more_and_the_last_word_counts(capsys):
    slow = [2 * ratio for ratio in STEADY]
    bounds = {"cost": Bound("cost", most=1.0), "share": Bound("share", least=0.5)}
    runs = one_after_the_other({"cost": slow, "share": STEADY}, {"cost": STEADY, "share": [0.0]})

    verdicts = measure_all([runs], bounds)

    assert [verdict.holds for verdict in verdicts["cost"]] == [False, True]
    assert [verdict.holds for verdict in verdicts["share"]] == [True]
    report(bounds, verdicts, 1.0)
    assert [line[:4] for line in capsys.readouterr().out.splitlines()[1:-1]] == [
        "once",
        "ok  ",
        "ok  ",
    ]


def test_what_fails_twice_has_failed(capsys):
    slow = [2 * ratio for ratio in STEADY]
    bounds = {"cost": Bound("cost", most=1.0)}

    verdicts = measure_all([one_after_the_other({"cost": slow}, {"cost": slow})], bounds)

    assert not verdicts["cost"][-1].holds
    report(bounds, verdicts, 1.0)
    assert "FAIL" in capsys.readouterr().out
