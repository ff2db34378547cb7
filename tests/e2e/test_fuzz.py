"""Damaged messages by the thousand, to every method: each is answered, and nothing is left.

What is sent follows from the seed; a fault names the call that has it, to be made again by
`python -m tests.fuzz --seed SEED --only INDEX`.
"""

import pytest

from tests.fuzz.campaign import run_campaign

FEW, MANY = 5_000, 200_000


@pytest.mark.parametrize(
    ("seed", "messages"), [(0, FEW), pytest.param(1, MANY, marks=pytest.mark.slow)]
)
def test_whatever_is_sent_is_answered_and_leaves_nothing_behind(seed, messages):
    report = run_campaign(seed, messages)

    assert not report.tally.faults, f"seed {seed}\n{report}"
    assert report.tally.answered == report.tally.sent >= messages
    assert report.tally.good > messages / 10
