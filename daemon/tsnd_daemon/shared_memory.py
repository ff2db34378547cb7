"""Memory that clients on the same host share with the daemon: it reads there, copies once.

Memory that is mapped would kill the daemon (SIGBUS) when a client makes it smaller. So only
memory is mapped that is sealed against that; from any other the kernel copies, and says when
there is less than asked for. Copying by the kernel costs twice as much.
"""

import fcntl
import math
import mmap
import os
import re
import stat
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from tsnd_daemon.errors import InvalidSnippet, RegionRefused, RequestError
from tsnd_daemon.snippets import Pixels, Stored

FOLDER = Path("/dev/shm")
"""Where the objects are that shm_open names."""

_MIN_SECRET = 16
_KEY = re.compile(r"/?([A-Za-z0-9_+:-][A-Za-z0-9_.+:-]{0,253})")


class PixelSource(Protocol):
    """Memory with the pixels of a stream's snippets."""

    def pixels(self, offset: int, shape: tuple[int, ...]) -> Pixels | Stored:
        """Return those that begin at an offset, bytes; raises InvalidSnippet."""
        ...


class Region:
    """A shared memory object that a client has made. It closes with its last reference.

    So snippets that still wait keep it open when its client takes it back.

    Attributes:
        key: Its name, as the client gave it.
        offset: Where the region begins in the object, bytes.
        byte_size: Its size.
    """

    def __init__(self, key: str, fd: int, *, offset: int, byte_size: int) -> None:
        self.key, self.offset, self.byte_size = key, offset, byte_size
        self._fd = fd

    def __del__(self) -> None:
        os.close(self._fd)

    @property
    def has_name(self) -> bool:
        """Whether the object can still be opened by its name; most go with their client."""
        return os.fstat(self._fd).st_nlink > 0

    def check(self, offset: int, size: int) -> None:
        """Refuse a range that is not inside; raises InvalidSnippet."""
        _check_range(self.key, self.byte_size, offset, size)

    def pixels(self, offset: int, shape: tuple[int, ...]) -> "SharedPixels":
        """Return those at an offset; see PixelSource."""
        self.check(offset, math.prod(shape))
        return SharedPixels(self, offset)

    def read_into(self, target: Pixels, offset: int) -> None:
        """Copy a range that was checked; raises InvalidSnippet when it is not there any more."""
        try:
            count = os.preadv(self._fd, [target.data], self.offset + offset)
        except OSError as err:
            raise InvalidSnippet(
                f"shared memory {self.key[:64]!r} cannot be read: {err.strerror}. Send the "
                "pixels in the message instead."
            ) from err
        if count != target.nbytes:
            raise InvalidSnippet(
                f"shared memory {self.key[:64]!r} has become smaller than it was said to be: "
                f"{count} of {target.nbytes} bytes at offset {offset}. Keep it until the snippets "
                "in it are answered."
            )

    def write(self, data: bytes, offset: int) -> None:
        """Copy data to a range that was checked.

        Raises:
            InvalidSnippet: When the range is not there any more, or is not to be written.
        """
        path = f"/proc/self/fd/{self._fd}"
        try:
            # Opened again, since inputs need no more than to be read.
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Beyond its end a write would make the object grow.
                is_there = os.fstat(fd).st_size >= self.offset + offset + len(data)
                count = os.pwrite(fd, data, self.offset + offset) if is_there else 0
            finally:
                os.close(fd)
        except OSError as err:
            raise InvalidSnippet(
                f"shared memory {self.key[:64]!r} cannot be written to: {err.strerror}. Take the "
                "outputs in the message instead."
            ) from err
        if count != len(data):
            raise InvalidSnippet(
                f"shared memory {self.key[:64]!r} has become smaller than it was said to be. Keep "
                "it until what is to be written to it is answered."
            )


class SharedPixels:
    """A snippet's pixels in a region; see Stored."""

    __slots__ = ("_offset", "_region", "error")

    waited_ns = 0  # nothing is decoded

    def __init__(self, region: Region, offset: int) -> None:
        """Note a range; that it is inside was checked."""
        self._region, self._offset = region, offset
        self.error: RequestError | None = None

    def begin(self, row: Pixels) -> None:
        """Copy them; see Stored."""
        try:
            self._region.read_into(row, self._offset)
        except InvalidSnippet as err:
            # Its frames hold these pixels, which would hold them.
            self.error = err.with_traceback(None)

    def finish(self) -> None:
        """Nothing is left to do; see Stored."""


class SealedRegion:
    """Memory that its client can write to, and cannot make smaller; it is mapped.

    It is unmapped with the last reference to the region and to pixels in it.
    """

    def __init__(self, key: str, fd: int, byte_size: int) -> None:
        """Map it.

        Args:
            key: Its name, for messages.
            fd: Of memory that is sealed, and large enough; it is not needed any more then.
            byte_size: How much of it.
        """
        self._key = key
        self._mapped = mmap.mmap(fd, byte_size, prot=mmap.PROT_READ)
        self._byte_size = byte_size

    def pixels(self, offset: int, shape: tuple[int, ...]) -> Pixels:
        """Return those at an offset, as a view; see PixelSource."""
        _check_range(self._key, self._byte_size, offset, math.prod(shape))
        return np.ndarray(shape, np.uint8, self._mapped, offset)


def _check_range(key: str, byte_size: int, offset: int, size: int) -> None:
    if offset + size > byte_size:
        raise InvalidSnippet(
            f"bytes {offset} to {offset + size} of shared memory {key[:64]!r}: it has "
            f"{byte_size}. Send offsets inside of it, or attach more."
        )


class RegionOpener:
    """Opens regions, and only so many and so large ones at a time.

    Attributes:
        make_room: Called when as many are open as may be; lets go of what it can spare.
    """

    def __init__(self, *, max_regions: int, max_region_bytes: int, folder: Path = FOLDER) -> None:
        """Set the bounds.

        Args:
            max_regions: Most that are open at a time; with 0 none is opened.
            max_region_bytes: Largest one.
            folder: Where the objects are.
        """
        self._max_regions = max_regions
        self._max_bytes = max_region_bytes
        self._folder = folder
        self._open: weakref.WeakSet[Region | SealedRegion] = weakref.WeakSet()
        self.make_room: Callable[[], None] = _keep_all

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_on(self) -> bool:
        """Whether any may be opened."""
        return self._max_regions > 0

    @property
    def is_full(self) -> bool:
        """Whether as many regions are open as may be."""
        return len(self._open) >= self._max_regions

    def open(self, key: str, *, byte_size: int, offset: int = 0) -> Region:
        """Open a shared memory object for reading.

        Args:
            key: Its name for shm_open, with or without the slash.
            byte_size: Size of the region, at least 1.
            offset: Where it begins in the object.

        Raises:
            RegionRefused: When there is no such object, it cannot be read, is smaller than
                said or larger than allowed, or as many are open as may be.
        """
        self._check(key, byte_size)
        match = _KEY.fullmatch(key)
        if match is None:
            raise RegionRefused(
                f"shared memory key {key[:64]!r}: expected a name for shm_open of letters, digits "
                "and _ . + : - with at most one slash, in front."
            )
        region = Region(key, self._open_file(match[1]), offset=offset, byte_size=byte_size)
        _check_size(key, region._fd, offset + byte_size)
        self._open.add(region)
        return region

    def open_sealed(
        self, key: str, *, byte_size: int, process_id: int, descriptor: int
    ) -> SealedRegion:
        """Map memory that a process on this host has from memfd_create.

        Args:
            key: The name that it was made with: known to whoever made it, and to those it told.
            byte_size: How much of it, from its beginning; at least 1.
            process_id: The process that has it.
            descriptor: What it has it as.

        Raises:
            RegionRefused: When there is no such memory, or it is not sealed; or as `open`.
        """
        self._check(key, byte_size)
        if len(key) < _MIN_SECRET:
            raise RegionRefused(
                f"shared memory {key!r}: expected a name of at least {_MIN_SECRET} characters, "
                "random ones."
            )
        fd = _open_descriptor(key, process_id, descriptor)
        try:
            _check_size(key, fd, byte_size)
            if not _is_sealed(fd):
                raise RegionRefused(
                    f"shared memory {key[:64]!r} could become smaller: seal it with F_SEAL_SHRINK."
                )
            region = SealedRegion(key, fd, byte_size)
        finally:
            os.close(fd)
        self._open.add(region)
        return region

    def _check(self, key: str, byte_size: int) -> None:
        """Refuse what is beyond the bounds."""
        shown = key[:64]
        if not self.is_on:
            raise RegionRefused(
                "shared memory is off here (max_shared_memory_regions is 0): send pixels in the "
                "message."
            )
        if not 0 < byte_size <= self._max_bytes:
            raise RegionRefused(
                f"shared memory {shown!r} of {byte_size} bytes: from 1 to {self._max_bytes} are "
                "allowed (max_shared_memory_region_bytes)."
            )
        if self.is_full:
            self.make_room()
        if self.is_full:
            raise RegionRefused(
                f"shared memory {shown!r}: {len(self._open)} regions are open, as many as may be "
                "(max_shared_memory_regions). Unregister some, or send pixels in the message."
            )

    def _open_file(self, name: str) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return os.open(self._folder / name, flags)
        except OSError as err:
            raise RegionRefused(
                f"shared memory {name[:64]!r} cannot be opened: {err.strerror}. Client and daemon "
                "must be on one host, see the same /dev/shm, and run as the same user or the "
                "object must be readable for all."
            ) from err


def _keep_all() -> None:
    """Make no room."""


def _open_descriptor(key: str, process_id: int, descriptor: int) -> int:
    """Open what a process has open, if it is memory of a certain name."""
    expected = f"/memfd:{key} (deleted)"
    path = Path(f"/proc/{process_id}/fd/{descriptor}")
    fd = -1
    try:
        # Looked at before, because to open some other things does something to them.
        found = str(path.readlink())
        if found == expected:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            found = str(Path(f"/proc/self/fd/{fd}").readlink())
        if found == expected:
            return fd
        reason = "its process has no such memory there"
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or "its name is none"
    if fd >= 0:
        os.close(fd)
    raise RegionRefused(
        f"shared memory {key[:64]!r} of process {process_id} cannot be opened: {reason}. Client "
        "and daemon must be on one host, see each other's processes, and run as the same user."
    )


def _is_sealed(fd: int) -> bool:
    """Return whether memory is of the ordinary kind, and stays as large as it is.

    Of the kind with huge pages there may be too few when it is read, which kills as well.
    """
    ordinary = os.memfd_create("tsnd-compare")
    try:
        is_ordinary = os.fstat(fd).st_dev == os.fstat(ordinary).st_dev
    finally:
        os.close(ordinary)
    return is_ordinary and bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)


def _check_size(key: str, fd: int, needed: int) -> None:
    """Refuse a file that is too small, or none, such as a pipe."""
    status = os.fstat(fd)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    if size < needed:
        raise RegionRefused(
            f"shared memory {key[:64]!r} has {size} bytes, and {needed} of them were named. Make "
            "it as large before."
        )
