"""Snippets as JPEG files: their headers are read when they come, they are decoded in a batch.

Until its batch runs a snippet stays as small as it came, and what never runs is never decoded.
A few threads decode straight into the batch's rows, outside Python's lock.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import simplejpeg

from tsnd.v1 import model_pb2
from tsnd_daemon.errors import InvalidSnippet, RequestError
from tsnd_daemon.snippets import Pixels

_COLOURS = frozenset({"YCbCr", "RGB", "Gray"})
_START_OF_SCAN = b"\xff\xda"
_MAX_SCANS = 64
"""A progressive file has about ten; thousands would take seconds to decode."""
_METADATA_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """How the pixels of a model's snippets are spread over JPEG files.

    Attributes:
        modality: rgb is one colour image; flow are grey planes.
        shape: Of the pixels: rgb [height, width, 3], flow [planes, height, width].
    """

    modality: int
    shape: tuple[int, ...]

    @property
    def is_flow(self) -> bool:
        """Whether it is grey planes."""
        return self.modality == model_pb2.MODALITY_FLOW

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images a snippet may have."""
        return (1, self.shape[0]) if self.is_flow else (1,)

    def image_size(self, count: int) -> tuple[int, int]:
        """Return height and width of each image, when there are so many."""
        if not self.is_flow:
            return self.shape[0], self.shape[1]
        planes, height, width = self.shape
        return (height, width) if count == planes else (2 * height, planes // 2 * width)


class JpegPixels:
    """A snippet's pixels as JPEG files; see Stored."""

    __slots__ = ("_decoding", "_images", "_layout", "_pool", "error", "waited_ns")

    def __init__(
        self, name: str, images: Sequence[bytes], layout: JpegLayout, pool: Executor
    ) -> None:
        """Look at the headers; nothing is decoded yet.

        Args:
            name: The snippet's, for messages.
            images: One file each.
            layout: What they must hold.
            pool: Where they are decoded.

        Raises:
            InvalidSnippet: When they are not as many or not as large as they must be, no
                JPEG files, or not grey or colour.
        """
        _check_count(name, len(images), layout)
        self._images, self._layout, self._pool = list(images), layout, pool
        for image in self._images:
            _check_image(name, image, layout.image_size(len(images)), 1 if layout.is_flow else 3)
        self._decoding: Future[None] | None = None
        self.error: RequestError | None = None
        self.waited_ns = 0

    def begin(self, row: Pixels) -> None:
        """Let the pool decode them; see Stored."""
        self._decoding = self._pool.submit(_decode, self._images, row, self._layout)

    def finish(self) -> None:
        """Wait until they are decoded; see Stored."""
        if self._decoding is None:
            return
        begun_ns = time.monotonic_ns()
        try:
            self._decoding.result()
        except ValueError as err:
            self.error = InvalidSnippet(f"a JPEG image cannot be decoded: {err}. Send it again.")
        self.waited_ns = time.monotonic_ns() - begun_ns


def _check_count(name: str, count: int, layout: JpegLayout) -> None:
    if count in layout.counts:
        return
    expected = (
        f"{layout.shape[0]}, one for each plane x0, y0, x1, y1, ..., or 1, a mosaic of them all"
        if layout.is_flow
        else "1"
    )
    raise InvalidSnippet(f"snippet {name!r} has {count} JPEG images, expected {expected}.")


def _check_image(name: str, image: bytes, size: tuple[int, int], channels: int) -> None:
    """Refuse an image of which decoding would take long or give something else."""
    bound = 2 * size[0] * size[1] * channels + _METADATA_BYTES
    if len(image) > bound:
        raise InvalidSnippet(
            f"snippet {name!r}: a JPEG image of {len(image)} bytes, at most {bound} are allowed "
            f"for {size[1]}x{size[0]} pixels. Send it as raw pixels instead."
        )
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(image)
    except ValueError as err:
        raise InvalidSnippet(
            f"snippet {name!r}: no JPEG image: {err}. Send JPEG files, or raw pixels."
        ) from err
    if (height, width) != size:
        raise InvalidSnippet(
            f"snippet {name!r}: a JPEG image of {width}x{height} pixels, expected "
            f"{size[1]}x{size[0]}. Resize before compressing; GetModel tells the shape."
        )
    if colour not in _COLOURS:
        raise InvalidSnippet(
            f"snippet {name!r}: a JPEG image in {colour}, expected colour or grey. Convert it."
        )
    scans = image.count(_START_OF_SCAN)
    if scans > _MAX_SCANS:
        raise InvalidSnippet(
            f"snippet {name!r}: a JPEG image with {scans} scans, at most {_MAX_SCANS} are allowed. "
            "Compress it again."
        )


def _decode(images: Sequence[bytes], row: Pixels, layout: JpegLayout) -> None:
    """Decode a snippet's images to where its pixels go; raises ValueError."""
    if not layout.is_flow:
        simplejpeg.decode_jpeg(images[0], "BGR", buffer=row)
    elif len(images) == len(row):
        for image, plane in zip(images, row, strict=True):
            simplejpeg.decode_jpeg(image, "GRAY", buffer=plane)
    else:
        planes, height, width = layout.shape
        mosaic = simplejpeg.decode_jpeg(images[0], "GRAY")
        by_axis = mosaic.reshape(2, height, planes // 2, width)
        np.copyto(row.reshape(planes // 2, 2, height, width), by_axis.transpose(2, 0, 1, 3))
