"""Frames of video files: PyAV decodes, OpenCV resizes. Needs the extra tsnd[video].

Nothing else of this package imports PyAV or OpenCV. FFmpeg's own log stays silent,
which is PyAV's default, so a broken file is reported by our message alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import MissingExtra, VideoError

try:
    import av
    import av.container
    import cv2
except ImportError as err:
    raise MissingExtra(
        f"reading video files needs packages that are not there ({err}): pip install 'tsnd[video]'"
    ) from err


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file's header says; nothing is decoded to find out.

    Attributes:
        width: Width of a frame, pixels.
        height: Height of a frame, pixels.
        frames_per_s: Average frame rate; 0 when the file does not say.
        frames: Estimated number of frames; None when the file does not say.
    """

    width: int
    height: int
    frames_per_s: float
    frames: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        index: Its place among the file's decodable frames, from 0.
        time_s: When it is shown, seconds from the start of the video.
        bgr: uint8 [H, W, 3].
    """

    index: int
    time_s: float
    bgr: npt.NDArray[np.uint8]


def probe(path: Path | str) -> VideoInfo:
    """Read a video file's header.

    Raises:
        VideoError: The file is missing, empty, not a video, or has no video stream.
    """
    with _open(Path(path)) as (container, stream):
        return VideoInfo(
            width=stream.width,
            height=stream.height,
            frames_per_s=float(stream.average_rate or 0),
            frames=_estimate_frames(container, stream),
        )


def count_frames(path: Path | str) -> int:
    """Count the frames of a video file, without decoding them.

    Raises:
        VideoError: The file is missing, empty, not a video, or has no video stream.
    """
    with _open(Path(path)) as (container, stream):
        return sum(1 for packet in container.demux(stream) if packet.size)


def read_frames(
    path: Path | str, stride: int = 1, *, on_broken: Callable[[str], object] | None = None
) -> Iterator[Frame]:
    """Decode a video file, one frame in memory at a time.

    Args:
        path: The file.
        stride: Every how many frames one is yielded; the first one always is.
        on_broken: Called with the reason for every broken frame, which is then skipped.

    Yields:
        Frames in the order in which they are shown.

    Raises:
        ValueError: `stride` is less than 1.
        VideoError: The file is missing, empty, not a video, or has no frame to decode.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    index = -1
    with _open(Path(path)) as (container, stream):
        stream.thread_type = "AUTO"
        for index, picture in enumerate(_decode(container, stream, on_broken or _ignore)):
            if index % stride == 0:
                yield _to_frame(index, picture, stream)
    if index < 0:
        raise VideoError(f"{path} has no frame that can be decoded. Copy or record it again.")


def resize_bgr(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Resize a frame with bilinear interpolation, as TSN's test code does.

    Args:
        pixels: uint8 [H, W, 3].
        width: New width, pixels.
        height: New height, pixels.

    Returns:
        uint8 [height, width, 3]; the given array itself where nothing is to do.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


@contextmanager
def _open(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and its first video stream; FFmpeg's errors become ours, here and inside."""
    _require_file(path)
    try:
        with av.open(path) as container:
            yield container, _first_video_stream(path, container)
    except (av.FFmpegError, OSError) as err:
        raise VideoError(
            f"{path} is not a video that can be read, or it is broken: {err.strerror}. "
            f"`ffmpeg -i {path.name} new.mp4` may repair or convert it."
        ) from err


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise VideoError(f"{path} is a folder, expected a video file. Name a file in it.")
    if not path.exists():
        raise VideoError(f"there is no file {path}. Check its name and folder.")
    if not path.is_file():
        raise VideoError(f"{path} is a pipe or device, expected a video file. Save it to a file.")
    if not path.stat().st_size:
        raise VideoError(f"{path} is empty, expected a video file. Copy or record it again.")


def _first_video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if container.streams.video:
        return container.streams.video[0]
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise VideoError(f"{path} has no video stream, only {kinds}. Name a file with pictures.")


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


def _to_frame(index: int, picture: av.VideoFrame, stream: av.VideoStream) -> Frame:
    bgr = picture.to_ndarray(format="bgr24")
    return Frame(index, _time_s(index, picture, stream), np.asarray(bgr, np.uint8))


def _time_s(index: int, picture: av.VideoFrame, stream: av.VideoStream) -> float:
    if picture.pts is None or picture.time_base is None:
        return float(index / stream.average_rate) if stream.average_rate else 0.0
    return float((picture.pts - (stream.start_time or 0)) * picture.time_base)


def _estimate_frames(container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    if stream.frames:
        return stream.frames
    if container.duration and stream.average_rate:
        return round(container.duration / av.time_base * stream.average_rate)
    return None


def _ignore(reason: str) -> None:
    """Take no note of a broken frame."""
