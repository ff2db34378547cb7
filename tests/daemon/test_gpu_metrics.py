"""GPUs in the metrics: with NVIDIA's own library where there is one, else with a small one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tsnd_daemon.gpu_metrics import gpu_metrics

SOURCE = Path(__file__).parents[1] / "nvml.c"
SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest
from tsnd_daemon.gpu_metrics import gpu_metrics

registry = CollectorRegistry()
with gpu_metrics(registry):
    print(generate_latest(registry).decode())
"""


def scrape_with(folder, *options):
    """What is scraped in a process that finds another libnvidia-ml; the name is the driver's."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a stand-in for NVIDIA's library needs a C compiler")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, *options, SOURCE], check=True)
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": os.pathsep.join(["protos", "daemon"]),
    }
    command = [sys.executable, "-c", SCRAPE]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lines = [line for line in ran.stdout.splitlines() if line and not line.startswith("#")]
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}


def test_each_gpu_tells_its_memory_and_utilisation(tmp_path):
    assert scrape_with(tmp_path) == {
        'tsnd_gpu_memory_bytes{gpu="0"}': 80e9,
        'tsnd_gpu_memory_bytes{gpu="1"}': 80e9,
        'tsnd_gpu_memory_used_bytes{gpu="0"}': 1e9,
        'tsnd_gpu_memory_used_bytes{gpu="1"}': 2e9,
        'tsnd_gpu_utilisation_ratio{gpu="0"}': 1.0,
        'tsnd_gpu_utilisation_ratio{gpu="1"}': 0.25,
    }


def test_a_gpu_that_is_lost_costs_no_scrape(tmp_path):
    found = scrape_with(tmp_path, "-DLOST=15")

    assert 'tsnd_gpu_utilisation_ratio{gpu="0"}' not in found
    assert found['tsnd_gpu_memory_bytes{gpu="0"}'] == 80e9


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_there_are_no_such_metrics():
    registry = CollectorRegistry()
    with gpu_metrics(registry):
        assert generate_latest(registry) == b""
