"""What the scoring of videos asks of a source of frames, and how one is opened by name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from tsnd_client.errors import VideoError
from tsnd_client.video import count_frames, probe, read_frames

Pixels = npt.NDArray[np.uint8]

_DENSE_FLOW_NAME = re.compile(r"(img|flow_x|flow_y)_(\d+)\.jpe?g")


class VideoSource(Protocol):
    """Frames of one video, each by its number."""

    @property
    def images(self) -> int:
        """How many images it has in dense_flow's numbering."""

    @property
    def fields(self) -> int:
        """How many flow fields it has, or can be computed of it."""

    @property
    def frames_per_s(self) -> float:
        """Its average frame rate; 0 when it does not say."""

    def frames_at(self, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        """Give frames, each with its number.

        Args:
            numbers: Ascending, of 0 to `images`; 0 is the frame before the first image.

        Yields:
            Every one of them, uint8 [H, W, 3] in BGR order.

        Raises:
            VideoError: One of them cannot be read.
        """


@runtime_checkable
class FlowFields(VideoSource, Protocol):
    """A source that has flow already, computed and quantised."""

    def fields_at(self, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        """Give flow fields uint8 [2, H, W], x and y; otherwise as `frames_at`, from 1 on."""


def open_source(path: Path) -> VideoSource:
    """Open a video file, or a folder of dense_flow's images.

    Raises:
        VideoError: There is no video, or it has no frames.
    """
    return _open_folder(path) if path.is_dir() else _open_file(path)


def is_image_folder(path: Path) -> bool:
    """Return whether a folder has images of dense_flow in it."""
    return path.is_dir() and any(_DENSE_FLOW_NAME.fullmatch(each.name) for each in path.iterdir())


@dataclass(frozen=True, slots=True)
class _VideoFile:
    path: Path
    images: int
    frames_per_s: float

    @property
    def fields(self) -> int:
        return self.images

    def frames_at(self, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        wanted = iter(numbers)
        number = next(wanted, None)
        last: Pixels | None = None
        if number is None:
            return
        for frame in read_frames(self.path):
            last = frame.bgr
            if frame.index == number:
                yield number, frame.bgr
                number = next(wanted, None)
                if number is None:
                    return
        raise VideoError(
            f"{self.path} ends at frame {frame.index if last is not None else 0}, before frame "
            f"{number} of {self.images + 1}: frames of it are broken. Copy or record it again."
        )


def _open_file(path: Path) -> _VideoFile:
    info = probe(path)
    frames = count_frames(path)
    return _VideoFile(path, max(0, frames - 1), info.frames_per_s)


@dataclass(frozen=True, slots=True)
class _ImageFolder:
    """img_00001.jpg, flow_x_00001.jpg, flow_y_00001.jpg, ..., numbered without a gap."""

    img: Sequence[Path]
    flow_x: Sequence[Path]
    flow_y: Sequence[Path]
    frames_per_s: float = 0.0

    @property
    def images(self) -> int:
        return len(self.img)

    @property
    def fields(self) -> int:
        return len(self.flow_x)

    def frames_at(self, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        for number in numbers:
            yield number, _read_image(self.img[number - 1], cv2.IMREAD_COLOR)

    def fields_at(self, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        for number in numbers:
            planes = [
                _read_image(files[number - 1], cv2.IMREAD_GRAYSCALE)
                for files in (self.flow_x, self.flow_y)
            ]
            yield number, np.stack(planes)


def _open_folder(path: Path) -> _ImageFolder:
    found: dict[str, dict[int, Path]] = {"img": {}, "flow_x": {}, "flow_y": {}}
    for each in path.iterdir():
        if match := _DENSE_FLOW_NAME.fullmatch(each.name):
            found[match[1]][int(match[2])] = each
    if not any(found.values()):
        raise VideoError(f"{path} has no img_*.jpg or flow_x_*.jpg. Name a folder of dense_flow.")
    for kind, files in found.items():
        gaps = sorted(set(range(1, len(files) + 1)) - files.keys())
        if gaps:
            raise VideoError(f"{path} has no {kind} number {gaps[0]}. Extract it again.")
    if len(found["flow_x"]) != len(found["flow_y"]):
        raise VideoError(
            f"{path} has {len(found['flow_x'])} flow_x and {len(found['flow_y'])} flow_y images, "
            "expected pairs. Extract it again."
        )
    img, flow_x, flow_y = ([files[n] for n in sorted(files)] for files in found.values())
    return _ImageFolder(img, flow_x, flow_y)


def _read_image(path: Path, mode: int) -> Pixels:
    image = cv2.imread(str(path), mode)
    if image is None:
        raise VideoError(f"{path} is not an image that can be read. Extract it again.")
    return np.asarray(image, np.uint8)
