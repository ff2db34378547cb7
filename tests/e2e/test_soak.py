"""Steady traffic and steady trouble for a while: all accounted for, and memory stays level."""

import logging
import os

import pytest

from tests.soak.soak import DEFAULT_S, soak

logger = logging.getLogger(__name__)

SHORT_S = 8.0
LONG_S = float(os.environ.get("TSND_SOAK_S", DEFAULT_S))


@pytest.mark.parametrize("seconds", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.slow)])
def test_a_daemon_under_steady_trouble_loses_nothing_and_piles_nothing_up(seconds):
    report = soak(seconds)

    logger.info("%s", report)
    assert not report.faults, f"{report}\n" + "\n".join(report.faults)
    assert report.sent == report.answered + report.refused > 0
    assert set(report.trouble) == {"reloads", "hang-ups", "broken messages", "refusals asked for"}
