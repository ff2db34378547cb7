"""`tsn bench --protocol kserve` with Triton's own client; the cases are in tests/tritonclient.

Its messages and those of our daemon have the same names, and cannot be in one process.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests" / "tritonclient" / "bench.py"


@pytest.mark.skipif(
    importlib.util.find_spec("tritonclient") is None,
    reason="Triton's client is not installed: make tritonclient",
)
def test_every_case_passes_in_a_process_of_its_own():
    # The client's generated code warns of our newer protobuf; it is not ours to change.
    command = [sys.executable, "-m", "pytest", "--noconftest", "-o", "addopts="]
    command += ["-o", "filterwarnings=", "-p", "no:cacheprovider", "--import-mode=importlib"]
    run = subprocess.run(
        [*command, "-q", str(CASES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
