"""Video files: any container and codec of FFmpeg's, read through once or at any frame.

FFmpeg gets a file's content without its name, since names select formats and protocols to
it, and it may open nothing else itself, which playlists would ask for.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsnd_client.closing import Closing
from tsnd_client.errors import VideoError
from tsnd_client.images import MAX_PIXELS
from tsnd_client.sources.base import Counters, Frame, require_indices, require_stride
from tsnd_client.sources.hardware import open_container
from tsnd_client.sources.numbering import Counted, Numbering, is_stamped, number_packets
from tsnd_client.sources.pictures import DECODER_OPTIONS, av, decode, first_video_stream, to_bgr
from tsnd_client.sources.seeking import Seeker

if TYPE_CHECKING:
    from av.container import InputContainer

_OPTIONS = {"protocol_whitelist": "pipe", **DECODER_OPTIONS}


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file's header says; nothing is decoded to find out.

    Attributes:
        width: Width of a frame as it is stored, before any rotation, pixels.
        height: Height of a frame as it is stored, pixels.
        frames_per_s: Average frame rate; 0 when the file does not say.
        frames: Estimated number of frames; None when the file does not say.
    """

    width: int
    height: int
    frames_per_s: float
    frames: int | None


def probe(path: Path | str) -> VideoInfo:
    """Read a video file's header.

    Raises:
        VideoError: The file is missing, empty, not a video, has no video stream, or its
            frames are too large.
    """
    with _open(Path(path)) as (container, stream):
        return VideoInfo(
            width=stream.width,
            height=stream.height,
            frames_per_s=float(stream.average_rate or 0),
            frames=_estimate_frames(container, stream),
        )


class VideoFile(Closing):
    """The frames of a video file; a `StoredSource`.

    It holds no open file between calls, so `close` has nothing to do. One thread may use it
    at a time.

    Args:
        path: The file.
        hardware: Whether to decode with a device, where the machine has one.
    """

    is_live = False

    def __init__(self, path: Path | str, *, hardware: bool = False) -> None:
        self._path = Path(path)
        self._hardware = hardware
        self._numbering: Numbering | None = None
        self.name = str(path)
        self.counters = Counters()

    @property
    def indices(self) -> range:
        """The frames that the file has: range(0, F).

        The first access reads the file through; it is decoded only where its time stamps
        do not tell the frames apart.

        Raises:
            VideoError: It cannot be read, or has no frame that can be decoded.
        """
        return range(self._number().count)

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Decode the whole file; see `FrameSource.frames`."""
        require_stride(stride)
        broken: list[str] = []
        numbering: Numbering | None = None
        start_pts, ordinal, counted, last = None, -1, self.counters.broken, -1
        with self._open() as (container, stream):
            for ordinal, picture in enumerate(decode(container.demux(stream), broken.append)):
                if broken and numbering is None:  # up to here, frames are numbered as they come
                    numbering = self._number()
                    start_pts = numbering.start_pts
                self._note(broken)
                index = numbering.number(picture, ordinal) if numbering else ordinal
                start_pts = picture.pts if start_pts is None else start_pts
                if index is None or index <= last:  # by damaged time stamps
                    continue
                last = index
                if index % stride == 0:
                    yield _to_frame(index, picture, stream, start_pts)
        self._note(broken)
        if ordinal < 0:
            raise self._empty()
        if numbering:  # decoders keep quiet on some of those that needed the broken ones
            self.counters.broken = max(
                self.counters.broken, counted + numbering.count - ordinal - 1
            )

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Read exactly these frames; see `StoredSource.frames_at`."""
        if not indices:
            return
        require_indices(indices, self.indices)
        numbering = self._number()
        decoded: Frame | None = None
        with self._open() as (container, stream):
            broken: list[str] = []
            seeker = Seeker(container, stream, numbering, broken.append)
            for index in indices:
                found = seeker.find(index)
                if found is None:
                    raise self._empty()
                number, picture = found
                if number != index:
                    self.counters.add_broken(broken[-1] if broken else "not in the file")
                if decoded is None or decoded.index != number:
                    decoded = _to_frame(number, picture, stream, numbering.start_pts)
                yield replace(decoded, index=index)

    def _number(self) -> Numbering:
        if self._numbering is None:
            self._numbering = self._read_stamps() or self._count()
        return self._numbering

    def _read_stamps(self) -> Numbering | None:
        with self._open() as (container, stream):
            if not is_stamped(container.format.name, stream.codec_context.name):
                return None
            return number_packets(container.demux(stream))

    def _count(self) -> Numbering:
        count, start_pts = 0, 0
        with self._open() as (container, stream):
            for picture in decode(container.demux(stream), _ignore):
                if not count:
                    start_pts = picture.pts or 0
                count += 1
        if not count:
            raise self._empty()
        return Counted(count, start_pts)

    def _note(self, broken: list[str]) -> None:
        for reason in broken:
            self.counters.add_broken(reason)
        broken.clear()

    def _open(self) -> AbstractContextManager[tuple["InputContainer", av.VideoStream]]:
        return _open(self._path, hardware=self._hardware)

    def _empty(self) -> VideoError:
        return VideoError(
            f"{self.name} has no frame that can be decoded, of at most {MAX_PIXELS} pixels (8192 x "
            "8192). Copy or record it again, or scale it down."
        )


@contextmanager
def _open(
    path: Path, *, hardware: bool = False
) -> Iterator[tuple["InputContainer", av.VideoStream]]:
    """Open a file and its first video stream; FFmpeg's errors become ours, here and inside."""
    _require_file(path)
    try:
        with path.open("rb") as file, open_container(file, _OPTIONS, hardware=hardware) as opened:
            yield opened, first_video_stream(str(path), opened)
    except (av.FFmpegError, OSError) as err:
        raise VideoError(
            f"{path} is not a video that can be read, or it is broken: {err.strerror or err}. "
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


def _to_frame(
    index: int, picture: av.VideoFrame, stream: av.VideoStream, start_pts: int | None
) -> Frame:
    return Frame(index, _time_s(index, picture, stream, start_pts), to_bgr(picture))


def _time_s(
    index: int, picture: av.VideoFrame, stream: av.VideoStream, start_pts: int | None
) -> float:
    if picture.pts is None or picture.time_base is None or start_pts is None:
        return float(index / stream.average_rate) if stream.average_rate else 0.0
    return float((picture.pts - start_pts) * picture.time_base)


def _estimate_frames(container: "InputContainer", stream: av.VideoStream) -> int | None:
    if stream.frames:
        return stream.frames
    if container.duration and stream.average_rate:
        return round(container.duration / av.time_base * stream.average_rate)
    return None


def _ignore(reason: str) -> None:
    """Take no note of a broken frame."""
