import fcntl
import gc
import os
import re
import secrets
from pathlib import Path

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

    _, error = read(region, 0, 100)

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
    before = set(Path("/proc/self/fd").iterdir())
    region = regions.open(key, byte_size=16)
    waiting = SharedPixels(region, 0)
    del region
    with pytest.raises(RegionRefused, match="1 regions are open, as many as may be"):
        regions.open(key, byte_size=16)

    del waiting

    assert set(Path("/proc/self/fd").iterdir()) <= before
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
        (4097, 0, "has 4096 bytes, and 4097 of them were named"),
        (4096, 1, "has 4096 bytes, and 4097 of them were named"),
        (1, 2**63, "has 4096 bytes"),
    ],
)
def test_sizes_that_are_not_there_or_not_allowed_are_refused(key, byte_size, offset, reason):
    with pytest.raises(RegionRefused, match=re.escape(reason)):
        opener().open(key, byte_size=byte_size, offset=offset)


def test_shared_memory_can_be_off(key):
    with pytest.raises(RegionRefused, match="shared memory is off here"):
        opener(max_regions=0).open(key, byte_size=1)


SECRET = "tsnd-0123456789abcdef"


@pytest.fixture
def memory():
    """Makes memory from memfd_create with CONTENT, sealed unless one says otherwise."""
    opened = []

    def make(name=SECRET, *, seals=fcntl.F_SEAL_SHRINK, flags=os.MFD_ALLOW_SEALING):
        fd = os.memfd_create(name, flags)
        opened.append(fd)
        os.write(fd, CONTENT)
        if seals:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return fd

    yield make
    for fd in opened:
        os.close(fd)


def open_sealed(fd, *, key=SECRET, byte_size=4096, regions=None):
    return (regions or opener()).open_sealed(
        key, byte_size=byte_size, process_id=os.getpid(), descriptor=fd
    )


def test_sealed_memory_is_read_in_place(memory):
    fd = memory()
    pixels = open_sealed(fd).pixels(10, (2, 3))

    assert isinstance(pixels, np.ndarray)
    assert pixels.tobytes() == CONTENT[10:16]
    os.pwrite(fd, b"new", 10)
    assert pixels.tobytes() == b"new" + CONTENT[13:16]
    assert not pixels.flags.writeable
    with pytest.raises(PermissionError):
        os.truncate(fd, 0)


def test_sealed_memory_is_unmapped_with_its_last_pixels(memory):
    fd = memory()
    regions = opener(max_regions=1)

    def mappings():
        return [line for line in Path("/proc/self/maps").read_text().splitlines() if SECRET in line]

    pixels = open_sealed(fd, regions=regions).pixels(0, (4,))
    assert len(regions) == 0
    assert len(mappings()) == 1

    del pixels

    assert mappings() == []


@pytest.mark.parametrize(("offset", "size"), [(0, 4097), (4096, 1), (2**63, 1)])
def test_ranges_outside_sealed_memory_are_refused(memory, offset, size):
    with pytest.raises(InvalidSnippet, match="it has 4096"):
        open_sealed(memory()).pixels(offset, (size,))


@pytest.mark.parametrize(
    ("kind", "asked", "reason"),
    [
        ({"seals": 0}, {}, "could become smaller: seal it with F_SEAL_SHRINK"),
        ({"seals": fcntl.F_SEAL_GROW}, {}, "could become smaller"),
        ({"flags": 0, "seals": 0}, {}, "could become smaller"),
        ({}, {"key": "tsnd-fedcba9876543210"}, "its process has no such memory there"),
        ({}, {"key": SECRET + "\0"}, "its process has no such memory there"),
        ({"name": "short"}, {"key": "short"}, "at least 16 characters"),
        ({}, {"byte_size": 4097}, "has 4096 bytes, and 4097 of them were named"),
        ({}, {"byte_size": 0}, "of 0 bytes: from 1"),
    ],
)
def test_memory_that_is_not_safe_or_not_the_named_one_is_refused(memory, kind, asked, reason):
    fd = memory(**kind)
    before = set(Path("/proc/self/fd").iterdir())

    with pytest.raises(RegionRefused, match=re.escape(reason)):
        open_sealed(fd, **asked)

    assert set(Path("/proc/self/fd").iterdir()) <= before


@pytest.mark.parametrize("descriptor", [0, 2**32 - 1])
def test_descriptors_of_something_else_are_refused(descriptor):
    with pytest.raises(RegionRefused, match="cannot be opened"):
        open_sealed(descriptor)


def test_processes_that_there_are_not_are_refused():
    with pytest.raises(RegionRefused, match="No such file"):
        opener().open_sealed(SECRET, byte_size=1, process_id=2**32 - 1, descriptor=0)
