"""Image files, decoded by OpenCV as TSN's own test decodes them."""

from pathlib import Path

import cv2
import numpy as np

from tsnd_builder.calibration.image_header import read_header
from tsnd_builder.calibration.limits import MAX_SIDE, require_size
from tsnd_builder.calibration.snippets import Pixels
from tsnd_builder.errors import CalibrationError
from tsnd_builder.shown import shown

_MAX_BYTES = 4 * MAX_SIDE**2  # more than the pixels of the largest image


def read_bgr(path: Path) -> Pixels:
    """Read an image in colour: uint8 [H, W, 3] BGR.

    Raises:
        CalibrationError: It cannot be read, is neither JPEG nor PNG, is damaged or too large.
    """
    return _decode(path, cv2.IMREAD_COLOR)


def read_grey(path: Path) -> Pixels:
    """Read an image in grey, as flow is stored: uint8 [H, W]. It raises as `read_bgr` does."""
    return _decode(path, cv2.IMREAD_GRAYSCALE)


def _decode(path: Path, flags: int) -> Pixels:
    content = _read(path)
    header = read_header(content)
    if header is None:
        raise CalibrationError(f"{shown(path)} is neither JPEG nor PNG, or less than its header.")
    require_size(path, header.width, header.height)
    pixels = _decode_bytes(content, flags) if header.has_end else None
    if pixels is None:
        raise CalibrationError(f"{shown(path)} is damaged or cut short. Copy or write it again.")
    return pixels


def _decode_bytes(content: bytes, flags: int) -> Pixels | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _read(path: Path) -> bytes:
    """Read a file, bounded: by name it is an image, but it could be anything."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as err:
        raise CalibrationError(f"{shown(path)} cannot be read: {err.strerror}.") from err
    if len(content) > _MAX_BYTES:
        raise CalibrationError(
            f"{shown(path)} is larger than an image can be: at most {_MAX_BYTES} bytes are read."
        )
    return content
