"""JPEG files, good and bad; pure functions."""

from random import Random

import cv2
import numpy as np

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF = (b"\xff\xc0", b"\xff\xc2")
_SOS = b"\xff\xda"
_SIZES = (0, 1, 16, 21, 36, 40, 41, 1_000, 65_500, 65_535)


def jpeg(height: int, width: int, channels: int, *options: int) -> bytes:
    """Compress smooth noise; `options` are OpenCV's."""
    noise = np.random.default_rng(height * width).integers(
        0, 256, (height, width, channels), np.uint8
    )
    ok, data = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 2), options)
    assert ok
    return data.tobytes()


def is_jpeg(data: bytes) -> bool:
    """Say whether something begins like a JPEG file."""
    return data.startswith(_SOI)


def damage_jpeg(data: bytes, rng: Random) -> bytes:
    """Damage a JPEG file."""
    return rng.choice(_DAMAGES)(data, rng)


def _flip(data: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))] + rng.choice((b"", _EOI))


def _resize(data: bytes, rng: Random) -> bytes:
    """Claim another size; the rest stays as it is."""
    at = max(data.find(marker) for marker in _SOF)
    size = b"".join(rng.choice(_SIZES).to_bytes(2, "big") for _ in range(2))
    return data if at < 0 else data[: at + 5] + size + data[at + 9 :]


def _components(data: bytes, rng: Random) -> bytes:
    """Claim another number of colours, or another precision."""
    at = max(data.find(marker) for marker in _SOF) + rng.choice((4, 9))
    return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]


def _scans(data: bytes, rng: Random) -> bytes:
    """Repeat all scans."""
    at = data.find(_SOS)
    end = len(data) - len(_EOI)
    return data[:end] + data[at:end] * rng.choice((1, 5, 62, 63, 64, 200)) + data[end:]


def _metadata(data: bytes, rng: Random) -> bytes:
    """Put in segments of metadata, of which some are longer than they say."""
    length = rng.choice((0, 2, 100, 65_535))
    segment = b"\xff\xe1" + length.to_bytes(2, "big") + bytes(min(length, 5_000))
    return data[:2] + segment * rng.randint(1, 3) + data[2:]


def _other(_data: bytes, rng: Random) -> bytes:
    return rng.choice(
        (b"", _SOI, _SOI + _EOI, b"\x89PNG\r\n\x1a\n" + bytes(100), rng.randbytes(99))
    )


_DAMAGES = (_flip, _flip, _cut, _resize, _components, _scans, _metadata, _other)
