"""How much memory does the daemon allocate for a snippet, in blocks and in bytes?

The daemon runs without an engine and gets the loads of server_cpu.py. A small library that is
preloaded counts every call of malloc and its kin. Python takes its small objects from arenas of
its own; so the daemon runs twice, once as it always does and once with Python told to ask
malloc for each of them (PYTHONMALLOC=malloc). Objects that Python's free lists give out again
are allocated by nobody, and are not counted.

    make bench-allocations
"""

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import machine_line
from benchmarks.server_cpu import BIN, LOADS, Load, build_model, process, send

SOURCE = Path(__file__).with_name("count_allocations.c")
WARM_UP_TURNS = 3
ALLOCATORS = {"native, and Python's large objects": "pymalloc", "all": "malloc"}

Allocated = tuple[float, float]
"""Blocks and bytes per snippet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=10, help="of each load")
    parser.add_argument("--snippets", type=int, default=1600, help="in each turn")
    options = parser.parse_args(argv)
    print(machine_line())
    print(f"allocated by the daemon per snippet of 150 KB; medians of {options.turns} turns\n")
    print(f"{'':<38}{'load':<18}{'blocks':>8}{'KB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library, repository = build_counter(folder), build_model(folder)
        for what, allocator in ALLOCATORS.items():
            found = asyncio.run(measure(folder, library, repository, allocator, options))
            for how, (blocks, size) in found.items():
                print(f"{what:<38}{how:<18}{blocks:>8.1f}{size / 1e3:>8.1f}")
    return 0


def build_counter(folder: Path) -> Path:
    """Compile the library; raises SystemExit where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("Counting needs a C compiler. On Debian and Ubuntu: apt install gcc")
    library = folder / "count_allocations.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


async def measure(
    folder: Path, library: Path, repository: Path, allocator: str, options: argparse.Namespace
) -> dict[str, Allocated]:
    """Load a daemon with each load; returns what it allocated."""
    file = folder / f"counts-{allocator}"
    file.write_bytes(bytes(16))
    tsnd = (
        "env", f"LD_PRELOAD={library}", f"TSND_ALLOCATIONS={file}", f"PYTHONMALLOC={allocator}",
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "synthetic", "--log-level", "WARNING",
    )  # fmt: skip
    async with process(*tsnd) as (_, target):
        return {how: await one_load(file, target, load, options) for how, load in LOADS.items()}


async def one_load(file: Path, target: str, load: Load, options: argparse.Namespace) -> Allocated:
    """Send turns of a load; returns the medians."""
    turns = []
    for turn in range(options.turns + WARM_UP_TURNS):
        before = read_counts(file)
        await send(target, load, options.snippets)
        if turn >= WARM_UP_TURNS:
            turns.append((read_counts(file) - before) / options.snippets)
    blocks, size = (statistics.median(float(turn[place]) for turn in turns) for place in (0, 1))
    return blocks, size


def read_counts(file: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Return how many blocks and bytes a daemon has allocated so far: int64 [2]."""
    return np.fromfile(file, np.int64)


if __name__ == "__main__":
    sys.exit(main())
