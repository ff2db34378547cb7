"""What this machine has to run models with; asked once, without loading any GPU library.

TensorRT may crash a process where there is no GPU, so the driver is asked first, by ctypes.
"""

import ctypes
import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

from tsnd_daemon.executors.tensorrt.checks import Gpu

_OPTIONAL = ("openvino", "pycuda", "tensorrt", "tensorrt_rtx")
_DRIVER = "libcuda.so.1"
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, cuda.h
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which backend runs a model.

    Attributes:
        gpus: The CUDA devices that this process sees, by number.
        libraries: Versions of the optional libraries that are installed, by import name:
            openvino, pycuda, tensorrt, tensorrt_rtx.
        providers: ONNX Runtime's execution providers, such as CPUExecutionProvider.
        cpu_features: The processor's, as Linux names them, such as avx512_bf16.
        cpus: Cores that this process may use.
    """

    gpus: tuple[Gpu, ...]
    libraries: Mapping[str, str]
    providers: frozenset[str]
    cpu_features: frozenset[str]
    cpus: int


@functools.cache
def this_machine() -> Machine:
    """Return what this machine has; it is asked the first time only."""
    return Machine(
        gpus=find_gpus(),
        libraries=installed_versions(),
        providers=frozenset(onnxruntime.get_available_providers()),
        cpu_features=parse_cpu_features(_text_of(_CPU_INFO)),
        cpus=usable_cpus(len(os.sched_getaffinity(0)), _text_of(_CPU_QUOTA)),
    )


def find_gpus(driver: str = _DRIVER) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA shows to this process.

    Args:
        driver: The driver's library.

    Returns:
        None without a driver, or when it finds no device or fails.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpus(cuda, count.value))


def installed_versions() -> dict[str, str]:
    """Return the versions of the optional libraries, by import name, without importing them.

    A version is empty where the library is installed without saying which it is.
    """
    here = [name for name in _OPTIONAL if find_spec(name) is not None]
    # The one import name tensorrt belongs to tensorrt, tensorrt-cu12 or tensorrt-cu13.
    owners = metadata.packages_distributions() if here else {}
    return {name: _version_of(owners.get(name, ())) for name in here}


def parse_cpu_features(cpu_info: str) -> frozenset[str]:
    """Return what the first processor in the text of /proc/cpuinfo can do."""
    found = re.search(r"^flags\s*:(.*)$", cpu_info, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def usable_cpus(affinity: int, quota: str) -> int:
    """Return how many cores a process may keep busy.

    Args:
        affinity: Cores that it may run on.
        quota: What cgroup v2's cpu.max says, "200000 100000" for two cores; a container
            with a limit sees all cores of its host and is stopped when it uses more.
    """
    limit = re.fullmatch(r"(\d+) (\d+)", quota.strip())
    if limit is None:
        return affinity
    return min(affinity, math.ceil(int(limit[1]) / int(limit[2])))


def _gpus(cuda: ctypes.CDLL, count: int) -> Iterator[Gpu]:
    for number in range(count):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
        if (
            cuda.cuDeviceGet(ctypes.byref(device), number) == 0
            and cuda.cuDeviceGetName(name, _NAME_BYTES, device) == 0
        ):
            major, minor = (_attribute(cuda, which, device) for which in (_MAJOR, _MINOR))
            yield Gpu(number, name.value.decode(errors="replace"), f"{major}.{minor}")


def _attribute(cuda: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _version_of(owners: "list[str] | tuple[str, ...]") -> str:
    """Return the version of the first distribution, as the library itself states it."""
    if not owners:
        return ""
    return metadata.version(owners[0]).partition(".post")[0]


def _text_of(path: Path) -> str:
    """Return the text of a file of the kernel; empty where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""
