"""Folders of images as dense_flow and denseflow write them: frames, and flow stored beside them.

dense_flow counts from 1: its image and its flow field j belong to video frame j. denseflow
counts from 0: image k is frame k, and flow k leads from frame k to frame k + 1.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsnd_client.closing import Closing
from tsnd_client.errors import VideoError
from tsnd_client.flow.stack import FlowField
from tsnd_client.images import MAX_PIXELS, Pixels, decode_jpeg
from tsnd_client.sources.base import Counters, Frame, require_indices, require_stride

DEFAULT_FRAMES_PER_S = 25.0
"""Folders do not say how fast their frames follow one another; UCF101's do so 25 times a second."""

_NAME = re.compile(r"(img|flow_x|flow_y)_([0-9]+)\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a folder, by kind and number.

    Attributes:
        folder: The folder.
        names: Of each of img, flow_x and flow_y: numbers and file names.
    """

    folder: Path
    names: dict[str, dict[int, str]] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The number that counting starts with: 1, or 0 of denseflow."""
        return 0 if any(0 in numbered for numbered in self.names.values()) else 1

    def numbers(self, kind: str) -> range:
        """Say which images of a kind there are, which must be all from the first on.

        Raises:
            VideoError: One is missing in between.
        """
        found = self.names[kind]
        expected = range(self.first, self.first + len(found))
        missing = next((number for number in expected if number not in found), None)
        if missing is not None:
            raise VideoError(
                f"{self.folder} lacks {kind} image {missing} of its {len(found)} up to "
                f"{max(found)}. Copy or compute them again."
            )
        return expected

    def read(self, kind: str, number: int) -> Pixels:
        """Read one image: BGR [H, W, 3] of img, else one plane [H, W].

        Raises:
            VideoError: It cannot be read, or is no JPEG in good order.
        """
        path = self.folder / self.names[kind][number]
        try:
            with path.open("rb") as file:
                content = file.read(4 * MAX_PIXELS)  # by name it is an image, but could be anything
        except OSError as err:
            raise VideoError(f"{path} cannot be read: {err.strerror}.") from err
        return decode_jpeg(content, str(path), grey=kind != "img")


def list_images(folder: Path) -> Listing:
    """Find the images of a folder by their names; none is opened.

    Raises:
        VideoError: The folder cannot be listed, or holds none.
    """
    names: dict[str, dict[int, str]] = {"img": {}, "flow_x": {}, "flow_y": {}}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if match := _NAME.fullmatch(entry.name):
                    names[match[1].lower()][int(match[2])] = entry.name
    except OSError as err:
        raise VideoError(f"{folder} cannot be listed: {err.strerror}.") from err
    if not any(names.values()):
        raise VideoError(
            f"{folder} holds none of img_*.jpg, flow_x_*.jpg and flow_y_*.jpg, as `tsn flow` and "
            "dense_flow write them. Name a folder of one video's images, or a video file."
        )
    return Listing(folder, names)


class FrameFolder(Closing):
    """The img_ images of a folder; a `StoredSource`.

    Args:
        folder: The folder.
        frames_per_s: How fast they follow one another, for the times of frames.

    Raises:
        VideoError: The folder cannot be listed, has no such images, or lacks one in between.
    """

    is_live = False

    def __init__(self, folder: Path | str, frames_per_s: float = DEFAULT_FRAMES_PER_S) -> None:
        self._listing = list_images(Path(folder))
        self._frames_per_s = frames_per_s
        self.name = str(folder)
        self.counters = Counters()
        self.indices = self._listing.numbers("img")
        if not self.indices:
            raise VideoError(f"{folder} has flow images, but no img_*.jpg beside them.")

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Read all images in order; see `FrameSource.frames`."""
        require_stride(stride)
        yield from self.frames_at([index for index in self.indices if index % stride == 0])

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Read exactly these images; see `StoredSource.frames_at`."""
        require_indices(indices, self.indices)
        shape = None
        frame: Frame | None = None
        for index in indices:
            if frame is None or frame.index != index:
                frame = Frame(index, index / self._frames_per_s, self._listing.read("img", index))
                shape = _same_shape(self.name, f"img image {index}", frame.bgr, shape)
            yield frame


class FlowFolder(Closing):
    """The flow_x_ and flow_y_ images of a folder, as fields numbered as TSN numbers them.

    Args:
        folder: The folder.

    Raises:
        VideoError: The folder cannot be listed, has no such images, lacks one in between, or
            has more of x than of y or the other way round.
    """

    def __init__(self, folder: Path | str) -> None:
        self._listing = list_images(Path(folder))
        self.name = str(folder)
        x, y = (len(self._listing.names[kind]) for kind in ("flow_x", "flow_y"))
        if x != y:
            raise VideoError(
                f"{folder} has {x} flow_x and {y} flow_y images, expected as many of each. Copy or "
                "compute them again."
            )
        if not x:
            raise VideoError(
                f"{folder} has no flow_x_*.jpg and flow_y_*.jpg. `tsn flow VIDEO` computes them."
            )
        for kind in ("flow_x", "flow_y"):
            self._listing.numbers(kind)
        self.indices = range(1, x + 1)

    def fields_at(self, indices: Sequence[int]) -> Iterator[FlowField]:
        """Read exactly these fields.

        Args:
            indices: Ascending; repeats are allowed.

        Raises:
            ValueError: They are not ascending.
            IndexError: One of them is not in `indices`.
            VideoError: An image cannot be read, or has another size than those before.
        """
        require_indices(indices, self.indices)
        shape = None
        earlier = 1 - self._listing.first  # denseflow's number is of the frame it comes from
        for index in indices:
            planes = []
            for kind in ("flow_x", "flow_y"):
                planes.append(self._listing.read(kind, index - earlier))
                shape = _same_shape(self.name, f"{kind} image {index - earlier}", planes[-1], shape)
            yield FlowField(index, np.stack(planes))


def _same_shape(
    folder: str, what: str, pixels: Pixels, shape: tuple[int, ...] | None
) -> tuple[int, ...]:
    if shape is not None and pixels.shape != shape:
        sizes = [f"{other[1]} x {other[0]}" for other in (pixels.shape, shape)]
        raise VideoError(
            f"{folder} mixes images of different sizes: {what} has {sizes[0]} pixels, those before "
            f"it {sizes[1]}. Keep one video's images in a folder."
        )
    return pixels.shape
