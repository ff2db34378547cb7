import random

import pytest

from tsnd_client.bench.histogram import Histogram, highest_equivalent, lowest_equivalent

PERCENTS = (0, 1, 25, 50, 90, 99, 99.9, 100)


def histogram_of(values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def exact_percentile(values, percent):
    """The least value that so many percent do not exceed."""
    rank = max(1, -(-round(percent * len(values) * 10) // 1000))
    return sorted(values)[rank - 1]


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_exact_to_three_significant_digits(seed):
    rng = random.Random(seed)
    values = [round(rng.lognormvariate(9, 2)) for _ in range(10_000)]
    histogram = histogram_of(values)

    for percent in PERCENTS:
        exact = exact_percentile(values, percent)
        assert exact <= histogram.percentile(percent) <= exact * 1.001 + 1


def test_small_values_are_exact():
    histogram = histogram_of(range(2048))

    for percent in PERCENTS:
        assert histogram.percentile(percent) == exact_percentile(range(2048), percent)


@pytest.mark.parametrize("value", [0, 1, 2047, 2048, 2049, 123_456, 10**9, 10**15])
def test_a_bucket_has_its_value_and_is_narrower_than_a_thousandth_of_it(value):
    low, high = lowest_equivalent(value), highest_equivalent(value)

    assert low <= value <= high
    assert high - low <= value / 1000
    assert lowest_equivalent(high) == low
    assert lowest_equivalent(high + 1) == high + 1


def test_no_percentile_exceeds_the_maximum_which_is_exact():
    histogram = histogram_of([100_001, 7])

    assert histogram.percentile(100) == histogram.maximum == 100_001


def test_the_mean_is_exact():
    assert histogram_of([100_001, 200_003]).mean == 150_002


def test_an_empty_histogram_has_zeros():
    histogram = Histogram()

    assert (histogram.percentile(99), histogram.mean, histogram.maximum) == (0, 0.0, 0)


def test_merged_histograms_count_what_both_counted():
    first, second = range(0, 50_000, 7), range(3, 90_000, 11)
    merged = Histogram().merge([histogram_of(first), histogram_of(second)])
    together = histogram_of([*first, *second])

    assert merged.count == together.count
    assert [merged.percentile(p) for p in PERCENTS] == [together.percentile(p) for p in PERCENTS]


def test_values_within_a_bound_are_counted():
    assert histogram_of([1, 10, 100, 1000]).count_within(100) == 3


def test_a_value_below_zero_counts_as_zero():
    assert histogram_of([-5]).percentile(50) == 0
