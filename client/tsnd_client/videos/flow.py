"""Optical flow as TSN means it: TV-L1 between grey frames, quantised to bytes at bound 20."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt

from tsnd_client.errors import MissingExtra
from tsnd_client.videos.reading import FlowPool, Pixels

BOUND = 20.0
"""Largest displacement that is told apart, pixels."""

_per_thread = threading.local()


@contextmanager
def flow_pool(workers: int) -> Iterator[FlowPool]:
    """Run TV-L1 in threads, which OpenCV lets run at the same time.

    Args:
        workers: How many.

    Raises:
        MissingExtra: This OpenCV comes without its contributed modules.
    """
    if not hasattr(cv2, "optflow"):
        raise MissingExtra(
            f"OpenCV {cv2.__version__} is here without the module optflow, which computes TV-L1 "
            "flow. Packages of OpenCV overwrite each other, so remove what is there: pip "
            "uninstall -y opencv-python opencv-python-headless opencv-contrib-python-headless; "
            "pip install 'tsnd[video]'. Or name folders of dense_flow's images."
        )
    with ThreadPoolExecutor(workers, thread_name_prefix="flow") as executor:
        yield FlowPool(tv_l1, executor, workers)


def tv_l1(earlier: Pixels, later: Pixels) -> Pixels:
    """Compute one field with OpenCV's parameters, which are dense_flow's.

    Args:
        earlier: Grey frame uint8 [H, W].
        later: The next one.

    Returns:
        uint8 [2, H, W], x and y, quantised.
    """
    if not hasattr(_per_thread, "algorithm"):
        # It has state of its own, so no two threads may share one.
        _per_thread.algorithm = cv2.optflow.createOptFlow_DualTVL1()
    field = np.asarray(_per_thread.algorithm.calc(earlier, later, None), np.float32)
    return quantise(field.transpose(2, 0, 1))


def quantise(flow: npt.NDArray[np.floating], bound: float = BOUND) -> Pixels:
    """Turn displacements into bytes exactly as dense_flow does.

    255 (v + b) / 2b in double precision, rounded half to even; more than the bound is 255, less
    than minus the bound and NaN are 0. No displacement is 128.

    Args:
        flow: Displacements of any shape, pixels.
        bound: The largest to tell apart, pixels.

    Returns:
        uint8 of the same shape.
    """
    known = np.nan_to_num(flow.astype(np.float64), nan=-bound)
    clipped = np.clip(known, -bound, bound)
    return np.rint(255 * (clipped + bound) / (2 * bound)).astype(np.uint8)
