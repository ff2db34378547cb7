import gc
import os
import re
import secrets

import numpy as np
import pytest

from tsnd_daemon.errors import InvalidSnippet, RegionRefused
from tsnd_daemon.shared_memory import FOLDER, RegionOpener, SharedPixels

CONTENT = bytes(range(256)) * 16


@pytest.fixture
def key():
    """Name of an object with CONTENT in /dev/shm."""
    name = f"tsnd-test-{secrets.token_hex(8)}"
    path = FOLDER / name
    path.write_bytes(CONTENT)
    yield name
    path.unlink(missing_ok=True)


def opener(max_regions=2, max_region_bytes=1 << 20):
    return RegionOpener(max_regions=max_regions, max_region_bytes=max_region_bytes)


def read(region, offset, size):
    row = np.zeros(size, np.uint8)
    pixels = SharedPixels(region, offset)
    pixels.begin(row)
    pixels.finish()
    return row, pixels.error


@pytest.mark.parametrize("prefix", ["", "/"])
def test_pixels_are_read_from_where_the_client_says(key, prefix):
    region = opener().open(prefix + key, offset=256, byte_size=1024)

    row, error = read(region, 10, 100)

    assert error is None
    assert row.tobytes() == CONTENT[266:366]


def test_what_is_written_is_where_the_client_reads(key):
    region = opener().open(key, offset=256, byte_size=1024)

    region.write(b"scores", 4)

    assert (FOLDER / key).read_bytes() == CONTENT[:260] + b"scores" + CONTENT[266:]


@pytest.mark.parametrize(("offset", "size"), [(0, 1025), (1024, 1), (1, 1024), (2**63, 1)])
def test_ranges_outside_are_refused(key, offset, size):
    region = opener().open(key, byte_size=1024)

    with pytest.raises(InvalidSnippet, match="it has 1024"):
        region.check(offset, size)


def test_memory_that_shrinks_is_an_error_of_its_snippet_and_kills_nobody(key):
    region = opener().open(key, byte_size=4096)
    os.truncate(FOLDER / key, 50)

    row, error = read(region, 0, 100)

    assert isinstance(error, InvalidSnippet)
    assert "has become smaller" in str(error)
    with pytest.raises(InvalidSnippet, match="has become smaller"):
        region.write(b"scores", 100)
    assert (FOLDER / key).stat().st_size == 50


def test_memory_stays_when_its_name_goes(key):
    region = opener().open(key, byte_size=4096)
    assert region.has_name

    (FOLDER / key).unlink()

    assert not region.has_name
    assert read(region, 0, 4096)[0].tobytes() == CONTENT


def test_a_region_closes_with_its_last_reference(key):
    regions = opener(max_regions=1)
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    region = regions.open(key, byte_size=16)
    waiting = SharedPixels(region, 0)
    del region
    with pytest.raises(RegionRefused, match="1 regions are open, as many as may be"):
        regions.open(key, byte_size=16)

    del waiting

    assert set(os.listdir("/proc/self/fd")) <= before
    regions.open(key, byte_size=16)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "//a", "../etc/passwd", "/../etc/passwd", "a/b", "a\0b", ".a", "a" * 300],
)
def test_names_that_could_lead_elsewhere_are_refused(name):
    with pytest.raises(RegionRefused, match="expected a name for shm_open"):
        opener().open(name, byte_size=1)


def test_what_is_no_shared_memory_is_refused(key):
    path = FOLDER / f"{key}-other"
    with pytest.raises(RegionRefused, match="No such file"):
        opener().open(path.name, byte_size=1)
    os.mkfifo(path)
    try:
        with pytest.raises(RegionRefused, match="has 0 bytes"):
            opener().open(path.name, byte_size=1)
        path.unlink()
        path.symlink_to("/etc/passwd")
        with pytest.raises(RegionRefused, match="cannot be opened"):
            opener().open(path.name, byte_size=1)
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("byte_size", "offset", "reason"),
    [
        (0, 0, "of 0 bytes: from 1 to 1048576 are allowed"),
        (2**20 + 1, 0, "of 1048577 bytes: from 1"),
        (4097, 0, "has 4096 bytes, and 4097 from offset 0 were named"),
        (4096, 1, "has 4096 bytes, and 4096 from offset 1 were named"),
        (1, 2**63, "has 4096 bytes"),
    ],
)
def test_sizes_that_are_not_there_or_not_allowed_are_refused(key, byte_size, offset, reason):
    with pytest.raises(RegionRefused, match=re.escape(reason)):
        opener().open(key, byte_size=byte_size, offset=offset)


def test_shared_memory_can_be_off(key):
    with pytest.raises(RegionRefused, match="shared memory is off here"):
        opener(max_regions=0).open(key, byte_size=1)
