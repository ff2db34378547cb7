import os
import subprocess
import sys
import threading

import pytest

from tests.late_driver import find_late_driver
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.executors.tensorrt.device import primary_context, start_driver

NO_DEVICE = "100"  # CUDA_ERROR_NO_DEVICE
START = "from tsnd_daemon.executors.tensorrt.device import start_driver; start_driver()"


def start_in_a_process(**environment):
    """Return the last line of what starting the driver says."""
    done = subprocess.run(
        [sys.executable, "-c", START],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@pytest.mark.skipif(find_late_driver() is not None, reason="here is a libcuda")
def test_without_pycuda_or_driver_the_error_says_what_to_do():
    with pytest.raises(SettingsError, match="take --backend onnxruntime"):
        start_driver()


def test_without_pycuda_the_error_names_the_extra(tmp_path):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("raise ModuleNotFoundError(name='pycuda')")

    said = start_in_a_process(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))

    assert "the package pycuda is not installed: pip install 'tsnd[gpu]'" in said


def test_without_a_device_the_error_is_the_drivers(driver):
    said = start_in_a_process(LATE_DRIVER_INIT=NO_DEVICE)

    assert "CUDA does not start (cuInit failed: no CUDA-capable device is detected)" in said
    assert "nvidia-smi" in said


def test_a_gpu_that_is_not_there_is_refused(driver):
    with pytest.raises(SettingsError, match=r"--device 7: there is no such GPU, this process sees"):
        with primary_context(start_driver(), 7):
            pass


def test_a_thread_ends_well_after_its_context_failed(driver):
    def fail():
        with pytest.raises(ZeroDivisionError), primary_context(start_driver(), 0):
            _ = 1 / 0

    # PyCUDA aborts the process when a thread ends with a context.
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

    assert driver.held()["contexts"] == 0
