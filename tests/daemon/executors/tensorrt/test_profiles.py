import pytest

from tsnd_daemon.executors.tensorrt.profiles import Profile, choose_profile, describe, most_rows

SMALL, LARGE = Profile(0, 1, 8, 8), Profile(1, 8, 32, 32)


@pytest.mark.parametrize(
    ("batch_size", "chosen", "rows"),
    [(1, SMALL, 1), (7, SMALL, 7), (8, SMALL, 8), (9, LARGE, 9), (32, LARGE, 32)],
)
def test_a_batch_runs_in_the_profile_that_holds_it(batch_size, chosen, rows):
    profile = choose_profile([SMALL, LARGE], batch_size)

    assert profile == chosen
    assert profile.rows_for(batch_size) == rows


def test_a_batch_runs_in_the_profile_tuned_nearest_to_it():
    latency, throughput = Profile(0, 1, 1, 32), Profile(1, 1, 32, 32)

    assert choose_profile([throughput, latency], 2) == latency
    assert choose_profile([latency, throughput], 30) == throughput


def test_a_batch_between_two_profiles_is_filled_up():
    profiles = [Profile(0, 1, 4, 4), Profile(1, 16, 16, 16)]

    profile = choose_profile(profiles, 5)

    assert profile.rows_for(5) == 16


@pytest.mark.parametrize(("max_batch_size", "rows"), [(1, 1), (4, 4), (5, 16), (16, 16)])
def test_memory_is_for_the_most_rows_of_any_batch(max_batch_size, rows):
    profiles = [Profile(0, 1, 4, 4), Profile(1, 16, 16, 16)]

    assert most_rows(profiles, max_batch_size) == rows


def test_profiles_are_described_as_inspect_shows_them():
    assert describe([SMALL, LARGE]) == "1-8(8), 8-32(32)"
