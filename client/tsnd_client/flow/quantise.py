"""From displacements to the bytes that TSN's flow networks are trained on, and back: pure NumPy."""

import numpy as np
import numpy.typing as npt

BOUND = 20.0
"""Largest displacement that is told apart, pixels: `-b 20` of TSN's `build_of.py`."""


def quantise(flow: npt.NDArray[np.floating], bound: float = BOUND) -> npt.NDArray[np.uint8]:
    """Turn displacements into bytes exactly as dense_flow does (its `convertFlowToImage`).

    255 above the bound, 0 below minus the bound and for NaN, else 255 (v + b) / 2b in
    double precision, rounded half to even. So no displacement is 128, and one level is
    2b / 255 pixels: 0.157 at bound 20.

    Args:
        flow: Displacements of any shape, pixels.
        bound: The largest to tell apart, pixels.

    Returns:
        uint8 of the same shape.
    """
    known = np.where(np.isnan(flow), -bound, flow).astype(np.float64)
    clipped = np.clip(known, -bound, bound)
    return np.rint(255 * (clipped + bound) / (2 * bound)).astype(np.uint8)


def dequantise(levels: npt.NDArray[np.uint8], bound: float = BOUND) -> npt.NDArray[np.float64]:
    """Turn bytes back into displacements, each right to half a level if it was within the bound.

    Args:
        levels: What `quantise` gave, of any shape.
        bound: The bound that it was given.

    Returns:
        Pixels, float64 of the same shape.
    """
    return levels.astype(np.float64) * (2 * bound / 255) - bound
