import importlib.util
import os
import shutil

import onnxruntime
import pytest

from tests.stub_tensorrt import compile_library
from tsnd_daemon.backends.machine import (
    find_gpus,
    installed_versions,
    parse_cpu_features,
    this_machine,
    usable_cpus,
)
from tsnd_daemon.executors.tensorrt.checks import Gpu

NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = 3; return COUNT; }
int cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return ordinal == 1; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == 7 ? "First" : "Third", size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? device + 1 : which == 76 ? 6 : -1;
    return 0;
}
"""

CPU_INFO = """\
processor\t: 0
model name\t: flags : none
flags\t\t: fpu avx2 avx512_bf16

processor\t: 1
flags\t\t: fpu other
"""


@pytest.fixture
def driver(tmp_path):
    """Make a driver whose first two functions return the given codes."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc for a stand-in of the driver")

    def make(*, init=0, count=0):
        path = tmp_path / f"libcuda-{init}-{count}.so"
        compile_library(f"#define INIT {init}\n#define COUNT {count}\n{DRIVER}", path)
        return str(path)

    return make


def test_gpus_are_numbered_as_cuda_does_without_those_that_fail(driver):
    assert find_gpus(driver()) == (Gpu(0, "First", "8.6"), Gpu(2, "Third", "10.6"))


def test_there_is_no_gpu_without_a_driver(tmp_path):
    assert find_gpus(str(tmp_path / "libcuda.so.1")) == ()


def test_there_is_no_gpu_when_the_driver_finds_none(driver):
    assert find_gpus(driver(init=NO_DEVICE)) == ()
    assert find_gpus(driver(count=NO_DEVICE)) == ()


def test_cpu_features_are_those_of_the_first_processor():
    assert parse_cpu_features(CPU_INFO) == {"fpu", "avx2", "avx512_bf16"}
    assert parse_cpu_features("") == frozenset()


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("", 8),
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("6400000 100000\n", 8),
    ],
)
def test_a_containers_limit_bounds_the_cores(quota, cpus):
    assert usable_cpus(8, quota) == cpus


def test_versions_are_those_that_the_libraries_state():
    found = installed_versions()

    assert ("openvino" in found) == (importlib.util.find_spec("openvino") is not None)
    if "openvino" in found:
        openvino = importlib.import_module("openvino")
        assert openvino.__version__.startswith(found["openvino"])


def test_this_machine_is_asked_once():
    machine = this_machine()

    assert machine is this_machine()
    assert machine.providers == set(onnxruntime.get_available_providers())
    assert 1 <= machine.cpus <= (os.cpu_count() or 1)
