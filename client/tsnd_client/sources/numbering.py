"""Which frame is which: a video file's frames by number, and where decoding can begin.

Where the container keeps good time stamps, the frames are numbered by them without being
decoded, so a broken frame keeps its number. Elsewhere the frames that can be decoded are
counted, which takes decoding them all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import av

# Their packets have the time stamp of what they show, and they can be entered at a keyframe.
_STAMPED_FORMATS = frozenset({"mov", "mp4", "matroska", "webm"})
# VP8 keeps pictures that are never shown in packets of their own.
_HIDING_CODECS = frozenset({"vp8"})


@dataclass(frozen=True, slots=True, eq=False)
class Stamped:
    """Frames numbered by their time stamps.

    Attributes:
        pts: int64 [F], when each frame is shown, ascending, in the stream's time base.
        keys: int64 [K], numbers of the keyframes, ascending; the first is 0.
        seek_to: int64 [K], the time stamp with which a seek finds each keyframe.
    """

    pts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    seek_to: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many frames there are, broken ones included."""
        return len(self.pts)

    @property
    def start_pts(self) -> int:
        """When the first frame is shown."""
        return int(self.pts[0])

    def number(self, picture: "av.VideoFrame", ordinal: int) -> int | None:
        """Number a decoded picture; None when no packet announced it."""
        if picture.pts is None:
            return None
        place = int(np.searchsorted(self.pts, picture.pts))
        return place if place < self.count and self.pts[place] == picture.pts else None

    def entry(self, index: int) -> int:
        """Say from which keyframe on a frame can be decoded: a place in `keys`."""
        return int(np.searchsorted(self.keys, index, side="right")) - 1


@dataclass(frozen=True, slots=True)
class Counted:
    """Frames numbered in the order in which they come out of the decoder.

    Attributes:
        count: How many can be decoded.
        start_pts: When the first of them is shown, in the stream's time base.
    """

    count: int
    start_pts: int

    def number(self, picture: "av.VideoFrame", ordinal: int) -> int | None:
        """Number a decoded picture: by its place among the good ones."""
        return ordinal


Numbering = Stamped | Counted


def is_stamped(format_names: str, codec_name: str) -> bool:
    """Say whether time stamps number the frames; FFmpeg's format names have commas between."""
    return codec_name not in _HIDING_CODECS and not _STAMPED_FORMATS.isdisjoint(
        format_names.split(",")
    )


def number_packets(packets: Iterable["av.Packet[av.VideoStream]"]) -> Stamped | None:
    """Number the frames of packets, of which each is taken to hold one.

    What comes before the first keyframe, or is shown before it, cannot be decoded; what an
    edit list cuts away is not shown. None of these has a number.

    Returns:
        None when time stamps are missing or occur twice, or no frame is left.
    """
    shown: list[int] = []
    keys: list[tuple[int, int]] = []  # when it is shown, what to seek for
    for packet in packets:
        if not packet.size or not (keys or packet.is_keyframe):
            continue
        if packet.pts is None:
            return None
        if packet.is_keyframe:
            dts = packet.pts if packet.dts is None else packet.dts
            keys.append((packet.pts, min(packet.pts, dts)))
        if not packet.is_discard:
            shown.append(packet.pts)
    first = keys[0][0] if keys else 0
    pts = np.array(sorted(stamp for stamp in shown if stamp >= first), np.int64)
    if not len(pts) or (pts[1:] == pts[:-1]).any():
        return None
    # A keyframe that is cut away is the way in to the first frame that is not.
    entries = {int(np.searchsorted(pts, key)): seek_to for key, seek_to in sorted(keys)}
    return Stamped(
        pts=pts,
        keys=np.array(list(entries), np.int64),
        seek_to=np.array(list(entries.values()), np.int64),
    )
