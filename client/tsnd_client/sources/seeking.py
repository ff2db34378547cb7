"""Any frame of an open video, as decoding from the start would give it.

Decoding begins at the last keyframe before the frame, which is checked to be the one that was
sought; where the container did not find it, decoding begins at the start.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from tsnd_client.sources.numbering import Numbering, Stamped
from tsnd_client.sources.pictures import decode

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

Numbered = tuple[int, "av.VideoFrame"]


class Seeker:
    """Finds frames by number, in ascending order.

    Args:
        container: Freshly opened.
        stream: Its pictures.
        numbering: Which is which.
        on_broken: Called with the reason for what cannot be decoded on the way.
    """

    def __init__(
        self,
        container: "InputContainer",
        stream: "av.VideoStream",
        numbering: Numbering,
        on_broken: Callable[[str], object],
    ) -> None:
        self._container = container
        self._stream = stream
        self._numbering = numbering
        self._on_broken = on_broken
        self._pictures = self._decode(container.demux(stream))
        self._entry = 0
        self._last: Numbered | None = None

    def find(self, index: int) -> Numbered | None:
        """Decode a frame, by a way that is as short as the container allows.

        Args:
            index: Not less than the one before.

        Returns:
            The frame; where that is broken the next good one, else the last good one; None
            when there is none at all.
        """
        if self._last is not None and self._last[0] >= index:
            return self._last
        if isinstance(self._numbering, Stamped):
            entry = self._numbering.entry(index)
            reached = self._last[0] if self._last else -1
            if self._numbering.keys[entry] > reached + 1:
                self._enter(self._numbering, entry)
        for found in self._pictures:
            self._last = found
            if found[0] >= index:
                return found
        return self._last or self._last_before()

    def _last_before(self) -> Numbered | None:
        """Look for the last good frame further ahead, keyframe by keyframe."""
        while self._last is None and self._entry and isinstance(self._numbering, Stamped):
            self._enter(self._numbering, self._entry - 1)
            for found in self._pictures:
                self._last = found
        return self._last

    def _enter(self, numbering: Stamped, entry: int) -> None:
        self._last = None
        self._entry = entry
        self._container.seek(
            int(numbering.seek_to[entry]), stream=self._stream, backward=True, any_frame=False
        )
        packets = self._container.demux(self._stream)
        first = next(packets)
        if entry and not self._is_entry(numbering, first, entry):
            self._enter(numbering, 0)
        else:
            self._pictures = self._decode(chain([first], packets))

    def _is_entry(
        self, numbering: Stamped, packet: "av.Packet[av.VideoStream]", entry: int
    ) -> bool:
        """Say whether a packet is a keyframe, at the sought one or before it."""
        latest = numbering.pts[numbering.keys[entry]]
        return packet.is_keyframe and packet.pts is not None and packet.pts <= int(latest)

    def _decode(self, packets: Iterator["av.Packet[av.VideoStream]"]) -> Iterator[Numbered]:
        for ordinal, picture in enumerate(decode(packets, self._on_broken)):
            number = self._numbering.number(picture, ordinal)
            if number is not None:
                yield number, picture
