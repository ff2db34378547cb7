"""What PyAV decodes, turned into pixels; one place for rotation, pixel formats and size limits.

FFmpeg's own log stays silent, which is PyAV's default, so that a broken file is reported by
our message alone. Needs the extra tsnd[video].
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tsnd_client.errors import MissingExtra, VideoError
from tsnd_client.images import MAX_PIXELS, Pixels, require_pixels

try:
    import av
except ImportError as err:
    raise MissingExtra(
        f"reading videos needs packages that are not there ({err}): pip install 'tsnd[video]'"
    ) from err

if TYPE_CHECKING:
    from av.container import InputContainer

DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}

__all__ = ["DECODER_OPTIONS", "av", "decode", "first_video_stream", "quarter_turns", "to_bgr"]

# Decoders in hardware give one plane of colour where those in software give two. Taking it
# apart loses nothing, and then both are turned into BGR by the same code.
_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le", "nv16": "yuv422p", "p210le": "yuv422p10le"}


def first_video_stream(name: str, container: "InputContainer") -> av.VideoStream:
    """Find the pictures in a container, and bound what decoding them may take.

    Raises:
        VideoError: There are none, or they are too large.
    """
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"{name} has no video stream, only {kinds}. Name a file with pictures.")
    stream = container.streams.video[0]
    if getattr(stream, "codec_context", None) is None:  # against its type
        raise VideoError(
            f"{name} has pictures of a codec that is not known here. `ffmpeg -i` may convert it."
        )
    require_pixels(name, stream.width, stream.height)
    stream.codec_context.options = DECODER_OPTIONS  # their size may change on the way
    stream.thread_type = "AUTO"
    return stream


def decode(
    packets: Iterator["av.Packet[av.VideoStream]"], on_broken: Callable[[str], object]
) -> Iterator[av.VideoFrame]:
    """Decode packets in order; what is broken is reported, and left out."""
    for packet in packets:
        try:
            pictures = packet.decode()
        except av.FFmpegError as err:
            on_broken(err.strerror or str(err))
            continue
        for picture in pictures:
            if picture.is_corrupt:
                on_broken("decoded in part only")
            else:
                yield picture


def to_bgr(picture: av.VideoFrame) -> Pixels:
    """Turn a decoded picture into uint8 [H, W, 3], as it is to be seen.

    Pictures of more than 8 bits a value are rounded to 8. A rotation by a multiple of 90
    degrees, as phones note it, is carried out.
    """
    planar = _PLANAR.get(picture.format.name)
    if planar:
        picture = picture.reformat(format=planar)
    bgr = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
    turns = quarter_turns(picture.rotation)
    return np.ascontiguousarray(np.rot90(bgr, turns)) if turns else bgr


def quarter_turns(degrees: float) -> int:
    """Count the counterclockwise quarter turns of a rotation: 0 to 3; odd angles count as 0."""
    turns, rest = divmod(round(degrees), 90)
    return turns % 4 if rest == 0 else 0
