import pytest

from tsnd_client.bench.ramp import Step, best_rate, lowest_failed, next_rate


def search(limit_per_s, start_per_s, **options):
    """Search against a server that holds up to a limit."""
    steps: list[Step] = []
    while (rate := next_rate(steps, start_per_s=start_per_s, **options)) is not None:
        steps.append(Step(rate, rate <= limit_per_s))
    return steps


@pytest.mark.parametrize("limit", [11, 33.4, 257, 500])
@pytest.mark.parametrize("start", [10, 64, 1000])
def test_the_search_ends_just_below_the_limit(limit, start):
    steps = search(limit, start, max_steps=20)

    best, failed = best_rate(steps), lowest_failed(steps)
    assert best is not None
    assert failed is not None
    assert best <= limit < failed <= best * 1.05


def test_rates_double_until_one_fails_then_halve_the_distance():
    rates = [step.rate_per_s for step in search(90, 20)]

    assert rates[:6] == [20, 40, 80, 160, 120, 100]


def test_rates_halve_until_one_holds():
    assert [step.rate_per_s for step in search(9, 64)][:4] == [64, 32, 16, 8]


def test_the_search_is_bounded_when_nothing_fails():
    steps = search(float("inf"), 1)

    assert len(steps) == 12
    assert lowest_failed(steps) is None
    assert best_rate(steps) == 2**11


def test_the_search_is_bounded_when_nothing_holds():
    steps = search(0, 100)

    assert len(steps) == 12
    assert best_rate(steps) is None


def test_a_rate_that_held_above_one_that_failed_does_not_count():
    assert best_rate([Step(10, True), Step(20, False), Step(40, True)]) == 10


def test_a_failure_in_doubt_is_tried_once_more():
    doubtful = Step(20, False, is_doubtful=True)

    assert next_rate([Step(10, True), doubtful], start_per_s=10) == 20
    assert next_rate([Step(10, True), doubtful, doubtful], start_per_s=10) == 15
    assert next_rate([Step(10, True), doubtful, Step(20, True)], start_per_s=10) == 40


def test_a_rate_that_held_in_doubt_held():
    assert next_rate([Step(10, True, is_doubtful=True)], start_per_s=10) == 20
