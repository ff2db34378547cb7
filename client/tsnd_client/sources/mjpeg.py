"""Where one JPEG ends and the next begins in a stream of bytes: pure, and fed as they come.

Segments of a JPEG's headers tell their length, and inside its coded pixels a byte of 255 is
followed by 0 or by a restart marker (ITU T.81, B.1.1.5). So the end is found without
decoding, and a thumbnail's end is not mistaken for it.
"""

from collections.abc import Iterator
from enum import Enum, auto

_START = b"\xff\xd8\xff"
_FILL, _SCAN, _END = 0xFF, 0xDA, 0xD9
_RESTARTS = frozenset(range(0xD0, 0xD8))
_ALONE = _RESTARTS | {0x01, 0xD8}  # no length follows these markers


class _Found(Enum):
    END = auto()
    NO_JPEG = auto()
    TOO_LITTLE = auto()


class JpegSplitter:
    """Cuts a stream into JPEGs; what is between them, or too long, is left out.

    Args:
        max_bytes: Longest JPEG to keep.
    """

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.skipped = 0
        """How often something was left out."""
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._place = 0  # what is before it has been understood
        self._in_scan = False

    @property
    def has_rest(self) -> bool:
        """Whether a JPEG has begun that is not complete."""
        return self._place > 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in more bytes, and give the JPEGs that they complete."""
        self._kept += data
        while self._find_start():
            found = self._walk()
            if found is _Found.TOO_LITTLE and len(self._kept) <= self._max_bytes:
                return
            if found is _Found.END:
                yield bytes(self._kept[: self._place])
                self._drop(self._place)
            else:
                self.skipped += 1
                self._drop(len(_START))

    def _find_start(self) -> bool:
        """Bring the next JPEG to the front; False when its start has not come yet."""
        if self._place:
            return True
        start = self._kept.find(_START)
        between = start if start >= 0 else max(0, len(self._kept) - len(_START) + 1)
        if between:
            self.skipped += 1
            self._drop(between)
        if start >= 0:
            self._place = 2
        return start >= 0

    def _walk(self) -> _Found:
        """Go over segments and scans as far as they are there."""
        kept = self._kept
        while True:
            if self._in_scan:
                self._place = _next_marker(kept, self._place)
            if self._place + 2 > len(kept):
                return _Found.TOO_LITTLE
            if kept[self._place] != _FILL:
                return _Found.NO_JPEG
            self._in_scan = False
            marker = kept[self._place + 1]
            if marker == _END:
                self._place += 2
                return _Found.END
            if marker == _FILL:
                self._place += 1
            elif marker in _ALONE:
                self._place += 2
            elif self._place + 4 > len(kept):
                return _Found.TOO_LITTLE
            else:
                self._place += 2 + int.from_bytes(kept[self._place + 2 : self._place + 4])
                self._in_scan = marker == _SCAN

    def _drop(self, count: int) -> None:
        del self._kept[:count]
        self._place, self._in_scan = 0, False


def _next_marker(kept: bytearray, place: int) -> int:
    """Find what ends a scan; else the place to go on from when more bytes are there."""
    while 0 <= (place := kept.find(_FILL, place)) < len(kept) - 1:
        if kept[place + 1] != 0 and kept[place + 1] not in _RESTARTS:
            return place
        place += 2
    return place if place >= 0 else len(kept)
