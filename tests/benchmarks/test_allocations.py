"""The library that counts allocations, preloaded into a program that makes some."""

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.allocations import build_counter, read_counts

PROGRAM = """
import ctypes, sys

libc = ctypes.CDLL(None)
for _ in range(int(sys.argv[1])):
    libc.malloc(10_000)
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="counting needs a C compiler")
def test_every_call_of_malloc_is_counted_with_its_size(tmp_path):
    library = build_counter(tmp_path)

    def counted(calls):
        file = tmp_path / f"counts-{calls}"
        file.write_bytes(bytes(16))
        env = {**os.environ, "LD_PRELOAD": str(library), "TSND_ALLOCATIONS": str(file)}
        subprocess.run([sys.executable, "-c", PROGRAM, str(calls)], env=env, check=True)
        return read_counts(file)

    blocks, size = counted(2_000) - counted(1_000)

    assert blocks == pytest.approx(1_000, abs=100)
    assert size == pytest.approx(10_000_000, rel=0.05)
