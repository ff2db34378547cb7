"""Frames of video files, decoded by PyAV, one in memory at a time.

FFmpeg gets a file's content without its name: names select formats (any `.txt` is a video
to it, in ANSI art) and protocols (`we:ird.mp4`). It may open nothing else itself, which
playlists would ask for.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.container
import numpy as np
import numpy.typing as npt

from tsnd_builder.calibration.limits import MAX_SIDE, require_size
from tsnd_builder.errors import CalibrationError
from tsnd_builder.shown import shown

_MAX_PIXELS = {"max_pixels": str(MAX_SIDE**2)}
_OPTIONS = {"protocol_whitelist": "pipe", **_MAX_PIXELS}
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Length:
    """How long a video file turned out to be.

    Attributes:
        frames: Those that can be decoded.
        broken: Packets and frames that cannot, or in part only; they are left out.
    """

    frames: int
    broken: int


def measure(path: Path) -> Length:
    """Count the frames of a video file by decoding it; headers estimate or lie.

    Raises:
        CalibrationError: The file is not a video, cannot be read or is too large.
    """
    broken: list[str] = []
    with _open(path) as (container, stream):
        frames = sum(1 for _ in _decode(container, stream, broken.append))
    return Length(frames, len(broken))


def read_frames(path: Path, indices: Sequence[int]) -> Generator[npt.NDArray[np.uint8], None, None]:
    """Decode some frames of a video file, up to the last of them.

    Args:
        path: The file.
        indices: Places among the frames that can be decoded, from 0, ascending.

    Yields:
        uint8 [H, W, 3] BGR, one per index.

    Raises:
        CalibrationError: As for `measure`, or the file has fewer frames.
    """
    with _open(path) as (container, stream):
        pictures = enumerate(_decode(container, stream, _ignore))
        for index in indices:
            picture = next((picture for place, picture in pictures if place == index), None)
            if picture is None:
                raise CalibrationError(
                    f"{shown(path)} ended before its frame {index}, which it had when its frames "
                    "were counted. Do not change videos while they are read."
                )
            require_size(path, picture.width, picture.height)  # it may change on the way
            yield np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)


@contextmanager
def _open(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and its first video stream; FFmpeg's errors become ours, here and inside."""
    try:
        with path.open("rb") as file:
            if not file.peek(1):
                raise CalibrationError(f"{shown(path)} is empty. Copy or record it again.")
            source = _Nameless(file)
            with av.open(source, "r", options=_OPTIONS, buffer_size=_BUFFER_BYTES) as container:
                yield container, _video_stream(path, container)
    except av.FFmpegError as err:
        raise CalibrationError(
            f"{shown(path)} is not a video that can be decoded: {err.strerror or err}. "
            "ffmpeg may repair or convert it; or leave it out."
        ) from err
    except OSError as err:
        raise CalibrationError(f"{shown(path)} cannot be read: {err.strerror}.") from err


class _Nameless:
    """An open file, less its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise CalibrationError(f"{shown(path)} has no pictures in it. Name a video.")
    stream = container.streams.video[0]
    require_size(path, stream.width, stream.height)
    stream.codec_context.options = _MAX_PIXELS
    stream.thread_type = "AUTO"
    return stream


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    on_broken: Callable[[str], object],
) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
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


def _ignore(reason: str) -> None:
    """Take no note of a broken frame; `measure` has."""
