"""Optical flow as TSN means it: TV-L1 between grey frames, quantised to bytes at bound 20."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np

from tsnd_client.errors import MissingExtra
from tsnd_client.flow.quantise import quantise
from tsnd_client.images import Pixels
from tsnd_client.videos.reading import FlowPool

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
