"""Pixels of single images: OpenCV resizes, turns grey, reads and writes JPEG as TSN's tools do.

Needs the extra tsnd[video]. Nothing here starts threads or keeps state.
"""

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import MissingExtra, VideoError

try:
    import cv2
except ImportError as err:
    raise MissingExtra(
        f"images need a package that is not there ({err}): pip install 'tsnd[video]'"
    ) from err

__all__ = [
    "MAX_PIXELS",
    "Pixels",
    "cv2",
    "decode_jpeg",
    "encode_jpeg",
    "require_pixels",
    "resize_bgr",
    "to_grey",
]

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 8192 * 8192
"""Most pixels of a frame or image that is decoded; as BGR it takes 201 MB."""

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def resize_bgr(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize an image with bilinear interpolation, as TSN's test code does.

    Args:
        pixels: uint8 [H, W, 3]; a plane [H, W] does as well.
        width: New width, pixels.
        height: New height, pixels.

    Returns:
        uint8 [height, width, 3]; the given array itself where nothing is to do.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def to_grey(bgr: Pixels) -> Pixels:
    """Weigh colours as OpenCV does: uint8 [H, W, 3] BGR to uint8 [H, W]."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)


def encode_jpeg(pixels: Pixels) -> bytes:
    """Write JPEG with OpenCV's defaults (quality 95), as dense_flow does.

    Args:
        pixels: uint8 [H, W, 3] BGR, or one plane [H, W].

    Raises:
        VideoError: JPEG does not take such an image: it is longer than 65500 pixels.
    """
    if max(pixels.shape[:2]) > 65500:  # JPEG_MAX_DIMENSION of libjpeg
        raise VideoError(
            f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels is too long for JPEG, which "
            "takes 65500. Scale it down first."
        )
    _, coded = cv2.imencode(".jpg", pixels)
    return coded.tobytes()


def decode_jpeg(content: bytes, name: str, *, grey: bool = False) -> Pixels:
    """Read a JPEG that may be anything.

    Args:
        content: The file.
        name: What to call it in messages.
        grey: Whether to read one plane, as flow is stored.

    Returns:
        uint8 [H, W, 3] BGR, or [H, W].

    Raises:
        VideoError: It is no JPEG, is damaged or cut short, or has more than MAX_PIXELS.
    """
    if not content.startswith(_START):
        raise VideoError(f"{name} is not a JPEG. Write it again, as dense_flow does.")
    size = _size(content)
    if size is None or _END not in content[-64:]:  # some writers pad
        raise _damaged(name)
    width, height = size
    require_pixels(name, width, height)
    try:
        pixels = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        )
    except cv2.error as err:
        raise _damaged(name) from err
    if pixels is None:
        raise _damaged(name)
    return np.asarray(pixels, np.uint8)


def require_pixels(name: str, width: int, height: int) -> None:
    """Refuse an image that is too large, before its pixels take memory.

    Raises:
        VideoError: It has more than MAX_PIXELS.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{name} has {width} x {height} pixels, at most {MAX_PIXELS} (8192 x 8192) are "
            "decoded. Scale it down first."
        )


def _size(content: bytes) -> tuple[int, int] | None:
    """Find width and height in a JPEG's headers (ITU T.81, B.1.1.4 and B.2.2)."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _START_OF_FRAME:
            height = int.from_bytes(content[place + 5 : place + 7])
            width = int.from_bytes(content[place + 7 : place + 9])
            return width, height
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return None


def _damaged(name: str) -> VideoError:
    return VideoError(f"{name} is damaged or cut short. Copy or write it again.")
