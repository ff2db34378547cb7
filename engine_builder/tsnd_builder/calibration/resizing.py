"""Brings images and flow fields to the size that a model is served."""

import cv2
import numpy as np

from tsnd_builder.calibration.snippets import Pixels


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize with bilinear interpolation, as TSN and dense_flow do, whatever the proportions.

    Args:
        pixels: uint8 [H, W, 3] or [H, W].
        height: New height, pixels.
        width: New width, pixels.

    Returns:
        uint8 [height, width, 3] or [height, width].
    """
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
