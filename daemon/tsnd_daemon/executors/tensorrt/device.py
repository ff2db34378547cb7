"""The CUDA driver, a GPU and its context, for the thread of one executor."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.executors.tensorrt.checks import Gpu


def start_driver() -> ModuleType:
    """Start CUDA, before anything of TensorRT: its runtime may crash where that fails.

    Returns:
        pycuda.driver.

    Raises:
        SettingsError: Without PyCUDA, a driver or a device.
    """
    try:
        import pycuda.driver as cuda  # noqa: PLC0415 - an extra, and fails without a driver
    except ModuleNotFoundError as err:
        raise SettingsError(
            f"plans need PyCUDA, and the package {err.name} is not installed: pip install "
            "'tsnd[gpu]', or take --backend onnxruntime."
        ) from err
    except ImportError as err:
        raise SettingsError(
            f"plans need an NVIDIA GPU, and its driver does not load ({err}). Install the "
            "driver, give the container the GPU, or take --backend onnxruntime."
        ) from err
    try:
        cuda.init()
    except cuda.Error as err:
        raise SettingsError(
            f"plans need an NVIDIA GPU, and CUDA does not start ({err}). See what nvidia-smi "
            "says, give the container the GPU, or take --backend onnxruntime."
        ) from err
    driver: ModuleType = cuda
    return driver


@contextmanager
def primary_context(cuda: ModuleType, number: int) -> Iterator[Gpu]:
    """Make a GPU's primary context current in this thread.

    It is the one that TensorRT uses too, and that the executors of a GPU share: kernels of
    different contexts would take turns.

    Args:
        cuda: pycuda.driver, started.
        number: Of the GPU, as CUDA counts them.

    Yields:
        The GPU.

    Raises:
        SettingsError: When there is no such GPU, or it gives no context.
    """
    count = cuda.Device.count()
    if number >= count:
        known = "none" if count == 0 else "only 0" if count == 1 else f"0 to {count - 1}"
        raise SettingsError(
            f"--device {number}: there is no such GPU, this process sees {known}. Name another, "
            "or see what CUDA_VISIBLE_DEVICES hides."
        )
    device = cuda.Device(number)
    try:
        context = device.retain_primary_context()
        context.push()
    except cuda.Error as err:
        raise SettingsError(
            f"--device {number}: {device.name()} gives no context ({err}). See with nvidia-smi "
            "who uses it, or name another."
        ) from err
    try:
        yield Gpu(number, device.name(), "{}.{}".format(*device.compute_capability()))
    finally:
        # PyCUDA aborts the process when a thread ends with a context.
        cuda.Context.pop()
        context.detach()
