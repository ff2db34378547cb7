import shutil

import pytest

from tests.stub_tensorrt import compile_library
from tsnd_builder.plans.gpu import Gpu, find_gpu

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return DEVICE; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Test GPU", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = device == 7 ? (which == 75 ? 12 : which == 76 ? 1 : -1) : -2;
    return 0;
}
"""


@pytest.fixture
def driver(tmp_path):
    """Make a driver whose first two functions return the given codes."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc for a stand-in of the driver")

    def make(*, init=0, device=0):
        path = tmp_path / f"libcuda-{init}-{device}.so"
        compile_library(f"#define INIT {init}\n#define DEVICE {device}\n{DRIVER}", path)
        return str(path)

    return make


def test_a_gpu_is_named_with_its_compute_capability(driver):
    assert find_gpu(driver()) == Gpu("Test GPU", "12.1")


def test_there_is_no_gpu_without_a_driver(tmp_path):
    assert find_gpu(str(tmp_path / "libcuda.so.1")) is None


def test_there_is_no_gpu_when_the_driver_finds_none(driver):
    no_device = 100  # CUDA_ERROR_NO_DEVICE

    assert find_gpu(driver(init=no_device)) is None
    assert find_gpu(driver(device=no_device)) is None
