"""How near does the bare engine come to what this processor can do at all?

ONNX Runtime and, where installed, OpenVINO run BN-Inception in every precision and in batches of
1 to 32, in turns. Beside them, in the same runtimes and turns: a large matrix product, which is
the most operations per second that they reach, and a large copy, which is the most bytes per
second that memory gives. What one snippet takes of both is counted from the graph (work.py).

    make bench-roofline
    python -m benchmarks.roofline --rounds 5 --batch-sizes 1 8 --json out.json
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.machine import machine_line
from benchmarks.precision import Engine, load, make_package
from benchmarks.work import Work, count
from tsnd_builder.manifest import read_manifest
from tsnd_builder.package import ONNX_FILE
from tsnd_builder.probes import natural_frames
from tsnd_builder.serving_graph import INPUT, SCORES, Modality
from tsnd_client.bench.machine import usable_cores

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SNIPPETS_PER_TURN = 32
SIDE = 2048
"""Of the matrices: 3 of them are 50 MB in float32, more than caches hold."""
PRODUCTS_PER_TURN = 4
COPIED_BYTES = 2**27
WIDTHS = {"FP32": 4, "BF16": 2, "INT8": 1}
_OPSET, _IR_VERSION = 20, 10


Floats = npt.NDArray[np.float32]
Values = npt.NDArray[Any]
"""What an engine takes: pixels, or the rows of a matrix."""


@dataclass(frozen=True, slots=True)
class Row:
    """One engine with one batch size.

    Attributes:
        engine: Runtime and precision.
        batch: Snippets in an execution.
        per_s: Snippets per second, round by round.
    """

    engine: str
    batch: int
    per_s: tuple[float, ...]

    @property
    def precision(self) -> str:
        return precision_of(self.engine)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that was seen in any round.

    Attributes:
        operations_per_s: Of a large matrix product, by precision, in the faster runtime.
        bytes_per_s: Of a large copy on all cores, read and written.
    """

    operations_per_s: dict[str, float]
    bytes_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON if asked to."""
    options = parse(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = make_package(folder, "bn_inception", Modality.RGB)
        manifest = read_manifest(package)
        int8 = next(a.file for a in manifest.artifacts if a.file.startswith("model-int8-"))
        engines = load(package / ONNX_FILE, package / int8)
        products = load(*write_products(folder, SIDE))
        work = count(onnx.load(package / ONNX_FILE))
        frames = natural_frames(
            tuple(manifest.input.shape), Modality.RGB, max(options.batch_sizes), 1
        )
        ceilings = measure_ceilings(products, options.rounds)
        rows = measure(engines, frames, options.batch_sizes, options.rounds)
    print(machine_line("onnxruntime", "numpy"))
    print("\n".join(report(rows, work, ceilings, options.rounds)))
    if options.json:
        raw = {
            "machine": machine_line("onnxruntime", "numpy"),
            "work": asdict(work),
            "ceilings": asdict(ceilings),
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(raw, indent=2) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    return parser.parse_args(argv)


def precision_of(engine: str) -> str:
    """Return FP32, BF16 or INT8 of a name such as `OpenVINO, BF16`."""
    return engine.rpartition(", ")[2]


def write_products(folder: Path, side: int) -> tuple[Path, Path]:
    """Write graphs of one matrix product, in float32 and in int8 as quantizers write it."""
    weight = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    paths = folder / "product.onnx", folder / "product-int8.onnx"
    for path, graph in zip(paths, (product(weight), quantized_product(weight)), strict=True):
        onnx.save(graph, path)
    return paths


def product(weight: Floats) -> onnx.ModelProto:
    """Write snippets @ weight, float32 [N, K] and [K, M]."""
    node = helper.make_node("MatMul", [INPUT, "weight"], [SCORES])
    return _model([node], {"weight": weight}, weight.shape)


def quantized_product(weight: Floats) -> onnx.ModelProto:
    """Write the same with both factors through int8; normal values, six deviations wide."""
    step = np.float32(6 / 127)
    constants: dict[str, npt.ArrayLike] = {
        "step": step,
        "zero": np.uint8(128),
        "weight": np.clip(np.rint(weight / step), -127, 127).astype(np.int8),
        "weight_zero": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", [INPUT, "step", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "step", "zero"], ["left"]),
        helper.make_node("DequantizeLinear", ["weight", "step", "weight_zero"], ["right"]),
        helper.make_node("MatMul", ["left", "right"], [SCORES]),
    ]
    return _model(nodes, constants, weight.shape)


def _model(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, npt.ArrayLike], shape: tuple[int, ...]
) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in zip((INPUT, SCORES), shape, strict=True)
    ]
    stored = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], stored)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )


def measure_ceilings(
    products: Sequence[Engine],
    rounds: int,
    *,
    side: int = SIDE,
    copied_bytes: int = COPIED_BYTES,
) -> Ceilings:
    """Measure both ceilings in turns.

    Args:
        products: Engines of a product with a square matrix.
        rounds: Turns of each; one before them warms up.
        side: Of the matrix.
        copied_bytes: Of each copy, which the cores share.
    """
    left = np.random.default_rng(1).normal(size=(side, side)).astype(np.float32)
    best: dict[str, float] = {}
    copied = 0.0
    for turn in range(rounds + 1):
        found = {
            each.name: PRODUCTS_PER_TURN * 2 * side**3 / timed(each, left, PRODUCTS_PER_TURN)
            for each in products
        }
        copied = max(copied, copy_bytes_per_s(copied_bytes, usable_cores()))
        if turn:  # the first is warm-up
            for name, rate in found.items():
                precision = precision_of(name)
                best[precision] = max(best.get(precision, 0.0), rate)
    return Ceilings(best, copied)


def timed(engine: Engine, values: Values, times: int) -> float:
    """Run an engine so many times back to back; returns seconds."""
    begun_s = time.perf_counter()
    engine.turn(values, times)
    return time.perf_counter() - begun_s


def copy_bytes_per_s(size: int, threads: int) -> float:
    """Copy memory on several threads; returns bytes per second, read and written."""
    share = size // threads
    pairs = [(np.ones(share, np.uint8), np.zeros(share, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))  # the threads, the pages
        begun_s = time.perf_counter()
        list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))
        took_s = time.perf_counter() - begun_s
    return 2 * share * threads / took_s


def measure(
    engines: Sequence[Engine],
    frames: Values,
    batch_sizes: Sequence[int],
    rounds: int,
) -> list[Row]:
    """Run all engines with all batch sizes in turns, so that a drifting machine hits all."""
    found: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds + 1):
        for engine in engines:
            for batch in batch_sizes:
                times = max(1, SNIPPETS_PER_TURN // batch)
                rate = times * batch / timed(engine, frames[:batch], times)
                if turn:  # the first is warm-up
                    found.setdefault((engine.name, batch), []).append(rate)
    return [Row(name, batch, tuple(rates)) for (name, batch), rates in found.items()]


def report(rows: Sequence[Row], work: Work, ceilings: Ceilings, rounds: int) -> list[str]:
    """Write what was counted and measured as Markdown."""
    tops = ", ".join(f"{key} {rate / 1e9:.0f}" for key, rate in ceilings.operations_per_s.items())
    lines = [
        f"a snippet: {work.operations / 1e9:.2f} G operations, {work.weights / 1e6:.1f} M weights, "
        f"{work.activations / 1e6:.1f} M values read and written layer by layer",
        f"ceilings: product of {SIDE} x {SIDE} matrices, G operations/s: {tops}; copy, read and "
        f"written: {ceilings.bytes_per_s / 1e9:.1f} GB/s",
        f"median (min..max) of {rounds} rounds",
        "",
        "| engine | batch | snippets/s | G operations/s | of the product | GB/s | of the copy |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [_row(row, work, ceilings) for row in rows]


def _row(row: Row, work: Work, ceilings: Ceilings) -> str:
    rate = statistics.median(row.per_s)
    operations = rate * work.operations
    moved = rate * work.bytes_moved(WIDTHS[row.precision], row.batch)
    top = ceilings.operations_per_s[row.precision]
    return (
        f"| {row.engine} | {row.batch} | {rate:.1f} ({min(row.per_s):.1f}..{max(row.per_s):.1f}) | "
        f"{operations / 1e9:.0f} | {operations / top:.0%} | {moved / 1e9:.1f} | "
        f"{moved / ceilings.bytes_per_s:.0%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
