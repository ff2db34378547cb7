"""Frames from another program: JPEGs one after the other, or raw pixels of a size that is told.

Nothing is dropped: the program waits until we take more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

import numpy as np

from tsnd_client.closing import Closing
from tsnd_client.errors import InputError, VideoError
from tsnd_client.images import Pixels, decode_jpeg, require_pixels
from tsnd_client.sources.base import Counters, Frame, require_stride
from tsnd_client.sources.mjpeg import JpegSplitter
from tsnd_client.sources.pictures import av, to_bgr

DEFAULT_FRAMES_PER_S = 25.0

_READ_BYTES = 256 * 1024
_LAYOUT = re.compile(r"([0-9]+)x([0-9]+)(?:,([a-z0-9]+))?(?:@([0-9.]+))?")
# Bytes of a picture, as multiples of its pixels; FFmpeg's names.
_BYTES = {"bgr24": 3.0, "rgb24": 3.0, "gray": 1.0, "yuv420p": 1.5, "nv12": 1.5}


@dataclass(frozen=True, slots=True)
class RawLayout:
    """How raw pixels follow one another.

    Attributes:
        width: Width of a frame, pixels.
        height: Height of a frame, pixels.
        pixel_format: FFmpeg's name: bgr24, rgb24, gray, yuv420p or nv12.
        frames_per_s: For the times of frames.
    """

    width: int
    height: int
    pixel_format: str = "bgr24"
    frames_per_s: float = DEFAULT_FRAMES_PER_S

    @property
    def frame_bytes(self) -> int:
        """How many bytes a frame takes."""
        return int(self.width * self.height * _BYTES[self.pixel_format])


def parse_layout(text: str) -> RawLayout:
    """Read what follows `pipe:`, such as 640x480, 640x480@30 or 640x480,yuv420p@30.

    Raises:
        InputError: It is nothing of the kind.
        VideoError: The frames would be too large.
    """
    match = _LAYOUT.fullmatch(text)
    pixel_format = match[3] or "bgr24" if match else ""
    frames_per_s = _to_rate(match[4]) if match else 0.0
    if not match or pixel_format not in _BYTES or not int(match[1]) * int(match[2]) * frames_per_s:
        raise InputError(
            f"pipe:{text} does not describe raw frames: expected pipe:WIDTHxHEIGHT, then maybe "
            f",FORMAT ({', '.join(_BYTES)}) and @FRAMES_PER_S, as in pipe:640x480,yuv420p@30. "
            "Plain pipe: or - takes JPEGs."
        )
    layout = RawLayout(int(match[1]), int(match[2]), pixel_format, frames_per_s)
    require_pixels(f"a frame of pipe:{text}", layout.width, layout.height)
    if pixel_format in ("yuv420p", "nv12") and (layout.width % 2 or layout.height % 2):
        raise InputError(
            f"pipe:{text} has an odd size, which {pixel_format} cannot have. Send bgr24, or "
            "scale it."
        )
    return layout


class PipeSource(Closing):
    """The frames of a pipe, which can be read once; a `FrameSource`.

    Args:
        pipe: Opened for reading bytes; `close` leaves it open.
        layout: How raw pixels follow one another; None for JPEGs.
        name: What to call it in messages.
    """

    is_live = False

    def __init__(
        self, pipe: BufferedReader, layout: RawLayout | None = None, name: str = "pipe:"
    ) -> None:
        self._pipe = pipe
        self._layout = layout
        self._is_closed = False
        self.name = name
        self.counters = Counters()

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Read the frames as they come; see `FrameSource.frames`.

        Raises:
            VideoError: It ended before its first frame.
        """
        require_stride(stride)
        frames_per_s = self._layout.frames_per_s if self._layout else DEFAULT_FRAMES_PER_S
        index = -1
        for index, content in enumerate(self._contents()):
            if self._is_closed:
                return
            if index % stride:
                continue
            try:
                bgr = self._decode(content)
            except VideoError as err:
                self.counters.add_broken(str(err))
            else:
                yield Frame(index, index / frames_per_s, bgr)
        if index < 0:
            raise VideoError(
                f"{self.name} ended before its first frame. Does the other program send "
                f"{'raw pixels' if self._layout else 'JPEGs'}?"
            )

    def close(self) -> None:
        """End at the next frame."""
        self._is_closed = True

    def _contents(self) -> Iterator[bytes]:
        return self._raw(self._layout) if self._layout else self._jpegs()

    def _raw(self, layout: RawLayout) -> Iterator[bytes]:
        while len(content := self._pipe.read(layout.frame_bytes)) == layout.frame_bytes:
            yield content
        if content:
            self.counters.add_broken("the last frame is not whole")

    def _jpegs(self) -> Iterator[bytes]:
        splitter = JpegSplitter()
        skipped = 0
        while data := self._pipe.read1(_READ_BYTES):
            yield from splitter.feed(data)
            for _ in range(splitter.skipped - skipped):
                self.counters.add_broken("bytes that are no JPEG")
            skipped = splitter.skipped
        if splitter.has_rest:
            self.counters.add_broken("the last frame is not whole")

    def _decode(self, content: bytes) -> Pixels:
        if self._layout is None:
            return decode_jpeg(content, "a frame")
        return to_bgr(_to_picture(content, self._layout))


def _to_picture(content: bytes, layout: RawLayout) -> av.VideoFrame:
    flat = np.frombuffer(content, np.uint8)
    is_packed = _BYTES[layout.pixel_format] == 3
    # The planes of yuv420p and of nv12 are below one another.
    shape = (layout.height, layout.width, 3) if is_packed else (-1, layout.width)
    return av.VideoFrame.from_ndarray(flat.reshape(shape), format=layout.pixel_format)


def _to_rate(text: str | None) -> float:
    """Read a number of frames a second; 0 when it is none."""
    try:
        return DEFAULT_FRAMES_PER_S if text is None else float(text)
    except ValueError:
        return 0.0
