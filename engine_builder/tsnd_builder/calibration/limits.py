"""How large an image may be: checked before its pixels take memory."""

from pathlib import Path

from tsnd_builder.errors import CalibrationError
from tsnd_builder.shown import shown

MAX_SIDE = 8192
"""Longest side of a frame or image, pixels. One of 8192 x 8192 takes 201 MB as BGR."""


def require_size(path: Path, width: int, height: int) -> None:
    """Refuse an image that is too large.

    Raises:
        CalibrationError: A side is longer than `MAX_SIDE`.
    """
    if max(width, height) > MAX_SIDE:
        raise CalibrationError(
            f"{shown(path)} has {width} x {height} pixels, at most {MAX_SIDE} x {MAX_SIDE} are "
            "decoded. Scale it down first."
        )
