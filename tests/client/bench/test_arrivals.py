import random
from itertools import islice, pairwise
from statistics import mean, pstdev

import pytest

from tsnd_client.bench.arrivals import Arrivals, due_times


def gaps_s(kind, rate, number, seed=0):
    due_ns = islice(due_times(kind, rate, begin_ns=10**9, rng=random.Random(seed)), number + 1)
    return [(after - before) / 1e9 for before, after in pairwise(due_ns)]


@pytest.mark.parametrize("seed", range(3))
def test_poisson_gaps_are_exponential(seed):
    gaps = gaps_s(Arrivals.POISSON, 40.0, 20_000, seed)

    # Mean and deviation of an exponential distribution are equal; four standard errors.
    assert mean(gaps) == pytest.approx(1 / 40, rel=0.03)
    assert pstdev(gaps) == pytest.approx(1 / 40, rel=0.06)
    assert mean(gap > 1 / 40 for gap in gaps) == pytest.approx(0.3679, abs=0.015)


def test_constant_gaps_are_equal_and_do_not_drift():
    due_ns = list(
        islice(due_times(Arrivals.CONSTANT, 30.0, begin_ns=0, rng=random.Random(1)), 30_001)
    )

    assert all(abs(b - a - 1e9 / 30) <= 1 for a, b in pairwise(due_ns))
    assert abs(due_ns[-1] - due_ns[0] - 1000 * 10**9) <= 1


def test_constant_streams_do_not_march_in_step():
    firsts = {
        next(due_times(Arrivals.CONSTANT, 10.0, begin_ns=0, rng=random.Random(seed)))
        for seed in range(20)
    }

    assert len(firsts) == 20
    assert max(firsts) < 10**8


@pytest.mark.parametrize("kind", Arrivals)
def test_nothing_is_due_before_the_beginning(kind):
    assert next(due_times(kind, 1000.0, begin_ns=10**12, rng=random.Random(0))) >= 10**12


@pytest.mark.parametrize("kind", Arrivals)
def test_the_same_seed_gives_the_same_arrivals(kind):
    assert gaps_s(kind, 5.0, 100, seed=7) == gaps_s(kind, 5.0, 100, seed=7)
