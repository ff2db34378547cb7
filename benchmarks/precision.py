"""What does each precision buy on this CPU, and what does it cost in accuracy?

One model (BN-Inception, random weights, calibrated on natural images), its FP32 and INT8
serving graphs in ONNX Runtime and, where installed, OpenVINO, which also has BF16. They
take turns in every round, so that a drifting machine hits all alike.

    make bench-precision
    python benchmarks/precision.py --package models/kinetics_rgb/1 --rounds 7
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tsnd_builder.__main__ import main as build_main
from tsnd_builder.inference import Frames
from tsnd_builder.lowering import Calibration, make_int8
from tsnd_builder.manifest import modality_of, read_manifest
from tsnd_builder.package import ONNX_FILE, add_to_package
from tsnd_builder.parity import leads
from tsnd_builder.precision.accuracy import NO_NOISE_DB, compare_scores
from tsnd_builder.probes import natural_frames
from tsnd_builder.serving_graph import INPUT, SCORES, Modality

MODEL = "bench"
BATCH = 8
BATCHES_PER_TURN = 8
CALIBRATION = 32
TEST = 64
SIGMAS = 4
"""A first class is beyond noise when it leads by so many deviations of the error."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Engine:
    """A graph in a runtime.

    Attributes:
        name: Runtime and precision.
        score: Scores of any number of frames.
        turn: Runs a number of full batches as fast as it can.
    """

    name: str
    score: Callable[[Frames], Scores]
    turn: Callable[[Frames, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """Result of one engine; agreement is with ONNX Runtime in FP32."""

    name: str
    snippets_per_s: list[float]
    ratio: float
    snr_db: float
    top1: float
    clear_top1: float
    beyond_noise: int
    beyond_noise_top1: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, help="one with int8 (default: makes one)")
    parser.add_argument("--network", default="bn_inception", help="of the one it makes")
    parser.add_argument("--modality", default="rgb", type=Modality, help="of the one it makes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        package: Path = options.package or make_package(
            Path(folder), options.network, options.modality
        )
        manifest = read_manifest(package)
        shape, modality = tuple(manifest.input.shape), modality_of(manifest)
        int8 = next(a.file for a in manifest.artifacts if a.file.startswith("model-int8-"))
        engines = load(package / ONNX_FILE, package / int8)
        rows = measure(engines, natural_frames(shape, modality, TEST, 2), options.rounds)
    report(rows, options)
    return 0


def make_package(folder: Path, network: str, modality: Modality) -> Path:
    caffe, repository = folder / "caffe", folder / "models"
    tsn_build("synth", network, "--modality", modality, "--out", caffe)
    tsn_build(
        "build", "--prototxt", caffe / "deploy.prototxt", "--weights", caffe / "weights.caffemodel",
        "--labels", caffe / "labels.txt", "--modality", modality,
        "--name", MODEL, "--repository", repository,
    )  # fmt: skip
    package = repository / MODEL / "1"
    shape = tuple(read_manifest(package).input.shape)
    frames = natural_frames(shape, modality, 2 * CALIBRATION, 1)
    calibration = Calibration(frames, ("natural images",), max_drop=1.0)
    graph = onnx.load(package / ONNX_FILE)
    add_to_package(package, list(make_int8(graph, calibration, lambda line: None)))
    return package


def tsn_build(*arguments: str | Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        status = build_main([str(argument) for argument in arguments])
    if status:
        sys.exit(status)


def load(fp32: Path, int8: Path) -> list[Engine]:
    engines = [
        onnx_runtime("ONNX Runtime, FP32", fp32),
        onnx_runtime("ONNX Runtime, INT8", int8),
    ]
    if importlib.util.find_spec("openvino") is None:
        print("OpenVINO is not installed, so it is left out: make engines", file=sys.stderr)
        return engines
    flags = Path("/proc/cpuinfo").read_text().split()
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        engines.append(openvino("OpenVINO, BF16", fp32, "bf16"))
    return [
        *engines,
        openvino("OpenVINO, FP32", fp32, "f32"),
        openvino("OpenVINO, INT8", int8, "f32"),
    ]


def onnx_runtime(name: str, path: Path) -> Engine:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(frames: Frames) -> Scores:
        scores: Scores = session.run([SCORES], {INPUT: frames})[0]
        return scores

    def turn(frames: Frames, count: int) -> None:
        for _ in range(count):
            run(frames)

    return Engine(name, run, turn)


def openvino(name: str, path: Path, precision: str) -> Engine:
    import openvino as ov  # noqa: PLC0415 - optional

    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    compiled = ov.Core().compile_model(str(path), "CPU", settings)
    queue = ov.AsyncInferQueue(compiled)

    def run(frames: Frames) -> Scores:
        return np.array(compiled({INPUT: frames})[SCORES])

    def turn(frames: Frames, count: int) -> None:
        for _ in range(count):
            queue.start_async({INPUT: frames})
        queue.wait_all()

    return Engine(name, run, turn)


def measure(engines: Sequence[Engine], frames: Frames, rounds: int) -> list[Row]:
    batch = frames[:BATCH]
    rates: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for engine in engines:
        engine.turn(batch, 2)
    for _ in range(rounds):
        for engine in engines:
            start = time.perf_counter()
            engine.turn(batch, BATCHES_PER_TURN)
            seconds = time.perf_counter() - start
            rates[engine.name].append(BATCH * BATCHES_PER_TURN / seconds)
    expected = in_batches(engines[0], frames)
    base = statistics.median(rates[engines[0].name])
    return [compare(e, rates[e.name], base, in_batches(e, frames), expected) for e in engines]


def in_batches(engine: Engine, frames: Frames) -> Scores:
    parts = [engine.score(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)]
    return np.concatenate(parts)


def compare(
    engine: Engine, rates: list[float], base: float, found: Scores, expected: Scores
) -> Row:
    error = found.astype(np.float64) - expected
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    beyond = leads(expected.astype(np.float64)) > SIGMAS * error.std()
    accuracy = compare_scores(found, expected)
    return Row(
        name=engine.name,
        snippets_per_s=rates,
        ratio=statistics.median(rates) / base,
        snr_db=accuracy.snr_db,
        top1=accuracy.top1,
        clear_top1=accuracy.clear_top1,
        beyond_noise=int(beyond.sum()),
        beyond_noise_top1=float(same[beyond].mean()) if beyond.any() else 1.0,
    )


def report(rows: Sequence[Row], options: argparse.Namespace) -> None:
    print(
        f"{'':<22}{'snippets/s':>11}{'min..max':>14}{'x FP32':>8}{'SNR dB':>8}{'top-1':>7}"
        f"{'clear':>7}{'beyond noise':>15}"
    )
    for row in rows:
        spread = f"{min(row.snippets_per_s):.0f}..{max(row.snippets_per_s):.0f}"
        snr = f"{row.snr_db:.1f}" if row.snr_db < NO_NOISE_DB else "exact"
        beyond = f"{row.beyond_noise_top1:.0%} of {row.beyond_noise}"
        print(
            f"{row.name:<22}{statistics.median(row.snippets_per_s):>11.1f}{spread:>14}"
            f"{row.ratio:>8.2f}{snr:>8}{row.top1:>7.0%}{row.clear_top1:>7.0%}{beyond:>15}"
        )
    machine = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if options.json:
        raw = {"machine": machine, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(raw, indent=2))


def describe_machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    flags = set(named.get("flags", "").split())
    wanted = ("avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return {
        "cpu": f"{os.cpu_count()} x {named.get('model name', platform.machine())}",
        "flags": " ".join(flag for flag in wanted if flag in flags),
        "python": platform.python_version(),
        **{tool: version(tool) for tool in ("onnxruntime", "openvino") if _has(tool)},
    }


def _has(tool: str) -> bool:
    return importlib.util.find_spec(tool) is not None


if __name__ == "__main__":
    sys.exit(main())
