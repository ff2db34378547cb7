"""Memory that a stream shares with a daemon on the same host, instead of sending pixels.

It has no name in any folder, so nothing is left of it when this process dies. The daemon opens
it by this process's number and the memory's own name, which is random.
"""

import fcntl
import mmap
import os
import secrets
import socket

import numpy as np
import numpy.typing as npt

from tsnd.v1 import snippets_pb2

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1", ""})


def is_on_this_host(target: str) -> bool:
    """Say whether a daemon's address leads to this host, as far as its name tells.

    Args:
        target: HOST:PORT, [HOST]:PORT or unix:PATH.
    """
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].strip("[]")
    return host in _LOCAL_NAMES or host == socket.gethostname()


class SnippetMemory:
    """Places for the pixels of a stream's snippets.

    The one that was freed last is taken first, so that no more memory is used than what is
    really in flight.
    """

    def __init__(self, shape: tuple[int, ...], places: int) -> None:
        """Make the memory; the kernel gives it out as it is written to.

        Args:
            shape: Of a snippet's pixels.
            places: As many as are ever unanswered, and in the group that is being filled.

        Raises:
            OSError: When this system has no such memory.
        """
        name = f"tsnd-{secrets.token_hex(16)}"
        size = int(np.prod(shape)) * places
        self._fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, size)
            # Memory that could become smaller would kill a daemon that reads it.
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            mapped = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self._places = np.frombuffer(mapped, np.uint8).reshape(places, *shape)
        self._free = list(range(places))[::-1]
        self._place_bytes = size // places
        self.where = snippets_pb2.SharedMemory(
            key=name, byte_size=size, process_id=os.getpid(), descriptor=self._fd
        )

    def put(self, pixels: npt.NDArray[np.uint8]) -> int:
        """Copy a snippet's pixels to a free place; returns where it begins, bytes.

        Raises:
            IndexError: All places are taken.
        """
        place = self._free.pop()
        np.copyto(self._places[place], pixels)
        return place * self._place_bytes

    def release(self, offset: int) -> None:
        """Free the place that begins at an offset: its snippet is answered."""
        self._free.append(offset // self._place_bytes)

    def close(self) -> None:
        """Give it back; a daemon that still reads in it keeps it until then."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._places = self._places[:0].copy()


def make_memory(shape: tuple[int, ...], places: int) -> SnippetMemory | None:
    """Make memory to share; None where there is none, as on systems other than Linux."""
    try:
        return SnippetMemory(shape, places)
    except (OSError, AttributeError, ValueError):
        return None
