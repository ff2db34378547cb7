"""Snippets that are JPEG files already, and are sent as they are."""

from dataclasses import dataclass

Data = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A snippet's pixels as JPEG files, in place of an array; the daemon decodes them.

    Attributes:
        images: rgb: one image of the model's frame size. flow: one grey image for each plane,
            x0, y0, x1, y1, ...; or one mosaic of them, x0, x1, ... above y0, y1, ...
    """

    images: tuple[bytes, ...]

    def __init__(self, *images: Data) -> None:
        """Take files.

        Args:
            images: Their content, one file each.
        """
        object.__setattr__(self, "images", tuple(map(bytes, images)))
