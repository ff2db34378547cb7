"""Memory that clients on the same host share with the daemon: it reads there, copies once.

A client may shrink its memory at any moment. Memory that is mapped would then kill the daemon
(SIGBUS), so nothing is mapped: the kernel copies, and says when there is less than asked for.
"""

import os
import re
import stat
import weakref
from pathlib import Path

from tsnd_daemon.errors import InvalidSnippet, RegionRefused, RequestError
from tsnd_daemon.snippets import Pixels

FOLDER = Path("/dev/shm")
"""Where the objects are that shm_open names."""

_KEY = re.compile(r"/?([A-Za-z0-9_+:-][A-Za-z0-9_.+:-]{0,253})")


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
        if offset + size > self.byte_size:
            raise InvalidSnippet(
                f"bytes {offset} to {offset + size} of shared memory {self.key[:64]!r}: it has "
                f"{self.byte_size}. Send offsets inside of it, or attach more."
            )

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

    def __init__(self, region: Region, offset: int) -> None:
        """Note a range; that it is inside was checked."""
        self._region, self._offset = region, offset
        self.error: RequestError | None = None

    def begin(self, row: Pixels) -> None:
        """Copy them; see Stored."""
        try:
            self._region.read_into(row, self._offset)
        except InvalidSnippet as err:
            self.error = err

    def finish(self) -> None:
        """Nothing is left to do; see Stored."""


class RegionOpener:
    """Opens regions, and only so many and so large ones at a time."""

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
        self._open: weakref.WeakSet[Region] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._open)

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
        shown = key[:64]
        if not self._max_regions:
            raise RegionRefused(
                "shared memory is off here (max_shared_memory_regions is 0): send pixels in the "
                "message."
            )
        match = _KEY.fullmatch(key)
        if match is None:
            raise RegionRefused(
                f"shared memory key {shown!r}: expected a name for shm_open of letters, digits and "
                "_ . + : - with at most one slash, in front."
            )
        if not 0 < byte_size <= self._max_bytes:
            raise RegionRefused(
                f"shared memory {shown!r} of {byte_size} bytes: from 1 to {self._max_bytes} are "
                "allowed (max_shared_memory_region_bytes)."
            )
        if len(self._open) >= self._max_regions:
            raise RegionRefused(
                f"shared memory {shown!r}: {len(self._open)} regions are open, as many as may be "
                "(max_shared_memory_regions). Unregister some, or send pixels in the message."
            )
        region = Region(key, self._open_file(match[1]), offset=offset, byte_size=byte_size)
        size = _size_of_file(region._fd)
        if size is None or size < offset + byte_size:
            raise RegionRefused(
                f"shared memory {shown!r} has {size or 0} bytes, and {byte_size} from offset "
                f"{offset} were named. Make it as large before it is registered."
            )
        self._open.add(region)
        return region

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


def _size_of_file(fd: int) -> int | None:
    """Return the size of a file; None for anything else, such as a pipe."""
    status = os.fstat(fd)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
