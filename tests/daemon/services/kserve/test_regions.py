"""Registered regions give up their places to others, and only when that is needed."""

import contextlib

import pytest

from tests.kserve import shared_object
from tsnd_daemon.errors import InvalidSnippet, RegionRefused
from tsnd_daemon.services.kserve.regions import Regions
from tsnd_daemon.shared_memory import FOLDER, RegionOpener

MINUTE_NS = 60 * 10**9


class Clock:
    now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opener():
    return RegionOpener(max_regions=3, max_region_bytes=1000)


@pytest.fixture
def regions(opener, clock):
    return Regions(opener, clock=clock)


@pytest.fixture
def keys():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(shared_object(bytes(100))) for _ in range(4)]


def register(regions, names, keys):
    for name, key in zip(names, keys, strict=False):
        regions.register(name, key, offset=0, byte_size=100)


def names(regions):
    return [name for name, _ in regions]


def test_a_name_is_registered_once(regions, keys):
    register(regions, "a", keys)

    with pytest.raises(RegionRefused, match="'a' is registered already"):
        regions.register("a", keys[0], offset=0, byte_size=100)


def test_a_name_whose_object_is_gone_is_free(regions, keys):
    register(regions, "a", keys)
    (FOLDER / keys[0]).unlink()

    regions.register("a", keys[1], offset=0, byte_size=50)

    assert [(name, region.key) for name, region in regions] == [("a", keys[1])]


def test_nothing_makes_room_that_is_in_use(regions, keys, opener):
    register(regions, "abc", keys)

    with pytest.raises(RegionRefused, match="3 regions are open"):
        regions.register("d", keys[3], offset=0, byte_size=100)
    with pytest.raises(RegionRefused, match="3 regions are open"):
        opener.open(keys[3], byte_size=100)

    assert names(regions) == ["a", "b", "c"]


def test_what_was_not_used_for_ten_minutes_makes_room_oldest_first(regions, keys, clock):
    register(regions, "abc", keys)
    clock.now_ns = MINUTE_NS
    regions.find("a")
    clock.now_ns = 20 * MINUTE_NS

    regions.register("d", keys[3], offset=0, byte_size=100)

    assert names(regions) == ["a", "c", "d"]


def test_what_has_lost_its_object_makes_room_before_what_is_only_old(regions, keys, clock):
    register(regions, "abc", keys)
    clock.now_ns = 20 * MINUTE_NS
    regions.find("c")
    (FOLDER / keys[2]).unlink()

    regions.register("d", keys[3], offset=0, byte_size=100)

    assert names(regions) == ["a", "b", "d"]


def test_regions_make_room_for_streams_that_attach_memory_of_their_own(regions, keys, opener):
    register(regions, "abc", keys)
    (FOLDER / keys[1]).unlink()

    region = opener.open(keys[3], byte_size=100)

    assert names(regions) == ["a", "c"]
    assert region.byte_size == 100


def test_no_region_goes_before_the_bound_is_reached(regions, keys, clock):
    register(regions, "ab", keys)
    (FOLDER / keys[0]).unlink()
    clock.now_ns = 20 * MINUTE_NS

    regions.register("c", keys[2], offset=0, byte_size=100)

    assert names(regions) == ["a", "b", "c"]


def test_a_region_in_use_by_a_request_stays_open_when_it_is_forgotten(regions, keys, opener):
    register(regions, "a", keys)
    held = regions.find("a")
    regions.clear()

    assert len(opener) == 1
    held.check(0, 100)
    with pytest.raises(InvalidSnippet):
        held.check(0, 101)
    with pytest.raises(RegionRefused, match="there is no shared memory 'a'"):
        regions.find("a")


def test_to_forget_what_was_not_registered_is_no_error(regions):
    regions.unregister("nobody")

    assert names(regions) == []
