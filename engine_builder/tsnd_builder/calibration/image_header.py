"""Reads the header of a JPEG or PNG, before anything is decoded. Pure."""

import struct
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_END = b"IEND"
_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC
_FILL = 0xFF


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of an image without decoding it.

    Attributes:
        width: Pixels.
        height: Likewise.
        has_end: Whether the image ends; OpenCV before version 5 fills up one that does not
            with grey, without a word.
    """

    width: int
    height: int
    has_end: bool


def read_header(content: bytes) -> ImageHeader | None:
    """Read a header; None for what is neither JPEG nor PNG, or ends within it.

    ISO 10918-1, B.2.2 (a frame header after a marker SOF) and the PNG specification,
    11.2.2 (IHDR comes first).
    """
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">2I", content, len(_PNG))
            return ImageHeader(width, height, _PNG_END in content)
        if content.startswith(_JPEG):
            return _read_jpeg_header(content)
    except (struct.error, IndexError):  # the end
        pass
    return None


def _read_jpeg_header(content: bytes) -> ImageHeader | None:
    position = len(_JPEG)
    while content[position] == _FILL:
        marker = content[position + 1]
        if marker == _FILL:
            position += 1
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">2H", content, position + 5)
            return ImageHeader(width, height, content.find(_JPEG_END, position) >= 0)
        position += 2 + length
    return None
