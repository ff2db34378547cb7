"""How long to wait before a lost source is tried again: pure."""

FIRST_S = 0.5
LONGEST_S = 15.0


def backoff_s(failures: int) -> float:
    """Say how long to wait after so many failures in a row, at least one, seconds.

    Doubled with each, so that a camera that starts again is met soon, and one that stays
    away costs little.
    """
    return float(min(LONGEST_S, FIRST_S * 2 ** min(failures - 1, 16)))
