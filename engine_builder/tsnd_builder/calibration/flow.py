"""Optical flow as TSN means it: TV-L1 between grey frames, quantised to bytes at bound 20."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from tsnd_builder.calibration.snippets import Pixels
from tsnd_builder.errors import CalibrationError

BOUND = 20.0
"""Largest displacement that is told apart, pixels (`-b 20` of TSN's `build_of.py`)."""

FlowMethod = Callable[[Pixels, Pixels], npt.NDArray[np.float32]]
"""From one grey frame uint8 [H, W] to the next: float32 [H, W, 2], x and y in pixels."""


def tv_l1() -> FlowMethod:
    """Prepare TV-L1 with OpenCV's parameters, which are dense_flow's.

    dense_flow runs OpenCV's GPU class. This is the CPU class, with the same model; it
    filters with a median between iterations, so the two agree closely, not exactly.

    Raises:
        CalibrationError: This OpenCV comes without its contributed modules.
    """
    optflow = getattr(cv2, "optflow", None)  # not in the type stubs
    if optflow is None:
        raise CalibrationError(
            f"OpenCV {cv2.__version__} is here without the module optflow, which computes TV-L1 "
            "flow. Packages of OpenCV overwrite each other, so remove what is there: pip "
            "uninstall -y opencv-python opencv-python-headless opencv-contrib-python-headless; "
            "pip install 'tsnd[calibration]'. Or name folders of dense_flow's images."
        )
    algorithm = optflow.createOptFlow_DualTVL1()
    return lambda earlier, later: np.asarray(algorithm.calc(earlier, later, None), np.float32)


def quantise(flow: npt.NDArray[np.floating], bound: float = BOUND) -> Pixels:
    """Turn displacements into bytes exactly as dense_flow does (its `convertFlowToImage`).

    255 above the bound, 0 below minus the bound and for NaN, else 255 (v + b) / 2b in
    double precision, rounded half to even. No displacement is 128.

    Args:
        flow: Displacements of any shape, pixels.
        bound: The largest to tell apart, pixels.

    Returns:
        uint8 of the same shape.
    """
    known = np.nan_to_num(flow.astype(np.float64), nan=-bound)
    clipped = np.clip(known, -bound, bound)
    return np.rint(255 * (clipped + bound) / (2 * bound)).astype(np.uint8)
