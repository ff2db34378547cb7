import math
from typing import Any

import pytest

from tsnd_client import Priority
from tsnd_client.urgency import Urgency, to_urgency


def test_urgency_is_normal_and_unlimited_unless_asked_otherwise():
    assert to_urgency(Priority.NORMAL, None) == Urgency() == Urgency(Priority(1), 0)


@pytest.mark.parametrize(("timeout_s", "timeout_us"), [(0.25, 250_000), (3, 3_000_000), (1e-9, 1)])
def test_a_timeout_becomes_whole_microseconds_and_never_none(timeout_s, timeout_us):
    assert to_urgency(Priority.BULK, timeout_s) == Urgency(Priority.BULK, timeout_us)


@pytest.mark.parametrize("timeout_s", [0, -1, math.inf, math.nan, 1e300])
def test_a_timeout_out_of_range_is_refused(timeout_s):
    with pytest.raises(ValueError, match="more than 0 and at most a year, got"):
        to_urgency(Priority.NORMAL, timeout_s)


def test_a_number_that_is_no_priority_is_refused():
    number: Any = 3

    with pytest.raises(ValueError, match="3 is not a valid Priority"):
        to_urgency(number, None)


def test_priorities_have_the_numbers_of_the_contract():
    assert {priority.name: int(priority) for priority in Priority} == {
        "REAL_TIME": 0,
        "NORMAL": 1,
        "BULK": 2,
    }
