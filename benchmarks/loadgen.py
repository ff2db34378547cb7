"""What does the daemon carry without an engine, and can `tsn bench` send more than that?

Starts the daemon with its synthetic backend in a process of its own and loads it with `tsn
bench`: 8 streams, snippets of 150 KB in groups of 8, at rising rates. A generator that could
not keep up would be marked in its own output. Other arguments of `tsn bench` take the place of
the rates; daemons with models of your own are loaded by `tsn bench` itself.

    make bench-load
    python -m benchmarks.loadgen --in-flight 16 --payload shared
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine_line
from benchmarks.server_cpu import BIN, MODEL, build_model, process

RATES = "1000,2000,3000,4000,6000,8000"
STREAMS = ("--streams", "8", "--group", "8")
TIMING = ("--warm-up-s", "1", "--duration-s", "5")


def main(argv: Sequence[str] | None = None) -> int:
    """Build a model, serve it, load the daemon; returns the generator's exit status."""
    load = list(sys.argv[1:] if argv is None else argv) or ["--sweep", RATES]
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(serve_and_load(build_model(Path(folder)), load))


async def serve_and_load(repository: Path, load: Sequence[str]) -> int:
    """Run both in processes of their own."""
    tsnd = (
        BIN / "tsnd", "--model-repository", repository, "--port", "0", "--metrics-port", "0",
        "--backend", "synthetic", "--log-level", "WARNING",
    )  # fmt: skip
    async with process(*tsnd) as (_, target):
        tsn = (BIN / "tsn", "bench", "--model", MODEL, "--target", target)
        bench = await asyncio.create_subprocess_exec(*tsn, *STREAMS, *TIMING, *load)
        return await bench.wait()


if __name__ == "__main__":
    sys.exit(main())
