"""The shared memory that clients of this protocol have registered, by name.

Names are one space for all clients with the right to it, as they are in Triton. What clients
leave behind is let go of when its place is wanted: most register and, should they die, never
unregister.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tsnd_daemon.errors import RegionRefused
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.security.tokens import Right
from tsnd_daemon.services.kserve.parameters import Parameters, read_text, read_whole
from tsnd_daemon.shared_memory import Region, RegionOpener
from tsnd_daemon.validation import MAX_ID_LENGTH

REGION, SIZE, OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"
"""Parameters of a tensor that is in shared memory."""

_IDLE_NS = 600 * 1_000_000_000
"""After so long without a request a region gives up its place to another."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Part of a region, where a tensor is or is to be written.

    Attributes:
        name: The region's.
        region: Stays open as long as this is there.
        offset: Where it begins in the region, bytes.
        byte_size: Its size; it is inside of the region.
    """

    name: str
    region: Region
    offset: int
    byte_size: int


@dataclass(slots=True, eq=False)
class _Registered:
    region: Region
    used_ns: int


class Regions:
    """The registered regions; runs on the event loop."""

    def __init__(
        self, opener: RegionOpener, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Begin without any.

        Args:
            opener: Opens them, within bounds that hold for the whole daemon; it calls here
                for room when it has reached them.
            clock: Monotonic nanoseconds.
        """
        self._opener = opener
        self._clock = clock
        self._by_name: dict[str, _Registered] = {}
        opener.make_room = self._make_room

    def __iter__(self) -> Iterator[tuple[str, Region]]:
        """Iterate over names and regions, by name; raises Forbidden."""
        _check_right()
        return ((name, self._by_name[name].region) for name in sorted(self._by_name))

    def register(self, name: str, key: str, *, offset: int, byte_size: int) -> None:
        """Register a region.

        Args:
            name: By which tensors will mean it.
            key: Of the object that it is in, as shm_open takes it.
            offset: Where it begins in the object, bytes.
            byte_size: Its size.

        Raises:
            RegionRefused: When the name is taken or none, or the region cannot be opened.
            Forbidden: When the caller may not use shared memory.
        """
        _check_right()
        if not 0 < len(name) <= MAX_ID_LENGTH:
            raise RegionRefused(
                f"a name of {len(name)} characters for shared memory: from 1 to {MAX_ID_LENGTH} "
                "are allowed."
            )
        before = self._by_name.get(name)
        # One whose object is gone was left by a client that did not end well.
        if before is not None and before.region.has_name:
            raise RegionRefused(
                f"shared memory {name!r} is registered already, as {before.region.key[:64]!r}. "
                "Unregister it first, or take another name."
            )
        self._by_name.pop(name, None)
        before = None  # else it would still have its place
        region = self._opener.open(key, byte_size=byte_size, offset=offset)
        self._by_name[name] = _Registered(region, self._clock())

    def unregister(self, name: str) -> None:
        """Forget a region, should there be one; requests that were accepted still use it."""
        _check_right()
        self._by_name.pop(name, None)

    def clear(self) -> None:
        """Forget all regions; raises Forbidden."""
        _check_right()
        self._by_name.clear()

    def find(self, name: str) -> Region:
        """Return a region that a request uses now; raises RegionRefused when there is none."""
        registered = self._by_name.get(name)
        if registered is None:
            raise RegionRefused(
                f"there is no shared memory {name[:64]!r} here. Register it first; what was not "
                "used for ten minutes may have made room for other regions."
            )
        registered.used_ns = self._clock()
        return registered.region

    def find_place(self, parameters: Parameters, where: str) -> Place | None:
        """Return where a tensor is said to be; None when it is not in shared memory.

        Args:
            parameters: The tensor's.
            where: What they belong to, for messages.

        Raises:
            RequestError: When there is no such region, or the place is not inside of it.
        """
        name = read_text(parameters, REGION, where)
        if name is None:
            return None
        _check_right()
        region = self.find(name)
        offset, byte_size = (read_whole(parameters, key, where) for key in (OFFSET, SIZE))
        region.check(offset, byte_size)
        return Place(name, region, offset, byte_size)

    def _make_room(self) -> None:
        """Forget what nobody seems to need, oldest first, until another can be opened."""
        idle_since_ns = self._clock() - _IDLE_NS
        by_age = sorted(self._by_name.items(), key=lambda item: item[1].used_ns)
        orphans = [name for name, item in by_age if not item.region.has_name]
        idle = [name for name, item in by_age if item.used_ns <= idle_since_ns]
        del by_age  # whose regions would else stay open
        for name in dict.fromkeys(orphans + idle):
            if not self._opener.is_full:
                return
            del self._by_name[name]


def _check_right() -> None:
    """Refuse callers that may not use shared memory; raises Forbidden."""
    current_caller().require(Right.SHARED_MEMORY)
