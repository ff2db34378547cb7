"""Asks the CUDA driver which GPU this machine has, before any library relies on there being one.

TensorRT's builder and runtime may crash the process where there is no driver.
"""

import ctypes
from dataclasses import dataclass

_DRIVER = "libcuda.so.1"
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, cuda.h


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device.

    Attributes:
        name: As its driver calls it.
        compute_capability: Such as 9.0.
    """

    name: str
    compute_capability: str


def find_gpu(driver: str = _DRIVER) -> Gpu | None:
    """Return the first GPU that CUDA shows to this process.

    Args:
        driver: The driver's library.

    Returns:
        The GPU; None without a driver or a device.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    has_device = (
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetName(name, _NAME_BYTES, device) == 0
    )
    if not has_device:
        return None
    major, minor = (_attribute(cuda, which, device) for which in (_MAJOR, _MINOR))
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}")


def _attribute(cuda: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value
