"""Optical flow between two grey frames, by OpenCV: TV-L1, which TSN is trained on, and faster ones.

Needs the extra tsnd[video].
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import MissingExtra
from tsnd_client.images import Pixels, cv2

FlowMethod = Callable[[Pixels, Pixels], npt.NDArray[np.float32]]
"""From one grey frame uint8 [H, W] to the next: float32 [H, W, 2], x and y in pixels."""


class Algorithm(StrEnum):
    """How flow is computed."""

    TVL1 = "tvl1"
    DIS = "dis"
    FARNEBACK = "farneback"


def make_method(algorithm: Algorithm) -> FlowMethod:
    """Prepare an algorithm; what it gives is for one thread at a time.

    Raises:
        MissingExtra: This OpenCV comes without its contributed modules, which have TV-L1.
    """
    return _METHODS[algorithm]()


def _tvl1() -> FlowMethod:
    """Prepare TV-L1 with OpenCV's parameters, which are dense_flow's.

    They are tau 0.25, lambda 0.15, theta 0.3, 5 scales with a step of 0.8, 5 warps, epsilon
    0.01 and 300 iterations. dense_flow runs OpenCV's GPU class; this is the CPU class of the
    same model, which filters with a median between iterations, so they agree closely only.
    """
    optflow = getattr(cv2, "optflow", None)  # not in the type stubs
    if optflow is None:
        raise MissingExtra(
            f"OpenCV {cv2.__version__} is here without the module optflow, which computes TV-L1 "
            "flow. Packages of OpenCV overwrite each other, so remove what is there: pip "
            "uninstall -y opencv-python opencv-python-headless opencv-contrib-python-headless; "
            "pip install 'tsnd[video]'."
        )
    method = optflow.DualTVL1OpticalFlow_create()
    return lambda earlier, later: np.asarray(method.calc(earlier, later, None), np.float32)


def _dis() -> FlowMethod:
    """Prepare dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return lambda earlier, later: np.asarray(
        method.calc(earlier, later, np.zeros((*earlier.shape, 2), np.float32)), np.float32
    )


def _farneback() -> FlowMethod:
    """Prepare Farneback's polynomial expansion (SCIA 2003), with dense_flow's parameters."""
    return lambda earlier, later: np.asarray(
        cv2.calcOpticalFlowFarneback(
            earlier,
            later,
            np.zeros((*earlier.shape, 2), np.float32),
            pyr_scale=0.702,
            levels=5,
            winsize=10,
            iterations=2,
            poly_n=7,
            poly_sigma=1.5,
            flags=cv2.OPTFLOW_FARNEBACK_GAUSSIAN,
        ),
        np.float32,
    )


_METHODS: dict[Algorithm, Callable[[], FlowMethod]] = {
    Algorithm.TVL1: _tvl1,
    Algorithm.DIS: _dis,
    Algorithm.FARNEBACK: _farneback,
}
