"""The models of the comparison: one that is hardly a model, and BN-Inception."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.precision import make_package
from tsnd.caffe.net_pb2 import BlobProto, BlobShape, WeightFile
from tsnd_builder.manifest import read_manifest
from tsnd_builder.serving_graph import Modality

NAME = "bench"
SIDE = 224
CLASSES = 10
POOLED = 3 * (SIDE // 32) ** 2
TINY = f"""
name: "tiny"
input: "data" input_shape {{ dim: [1, 3, {SIDE}, {SIDE}] }}
layer {{ name: "global_pool" type: "Pooling" bottom: "data" top: "global_pool"
  pooling_param {{ pool: AVE kernel_size: 32 stride: 32 }} }}
layer {{ name: "fc-action" type: "InnerProduct" bottom: "global_pool" top: "fc-action"
  inner_product_param {{ num_output: {CLASSES} }} }}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A graph that all serve.

    Attributes:
        title: For the table.
        repository: Model repository of tsnd, with a package `bench`.
        onnx: The graph's file, which the peers serve.
        precision: What tsnd is told to take, so that it serves that file.
        shape: Of a snippet, uint8.
        p99_ms: The bound under which rates are compared.
        heavy: Whether the model and not the serving decides, so that workers share the cores.
        workers: Of each peer; 0 leaves it to `heavy`.
    """

    title: str
    repository: Path
    onnx: Path
    precision: str
    shape: tuple[int, ...]
    p99_ms: float
    heavy: bool
    workers: int = 0


def tiny(folder: Path) -> list[Case]:
    """Build a net that pools and weighs, behind the usual uint8 serving graph."""
    caffe, repository = folder / "tiny", folder / "tiny" / "models"
    caffe.mkdir()
    (caffe / "deploy.prototxt").write_text(TINY)
    (caffe / "labels.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))
    write_weights(caffe / "weights.caffemodel")
    command = (
        Path(sys.executable).parent / "tsn-build", "build", "--prototxt", caffe / "deploy.prototxt",
        "--weights", caffe / "weights.caffemodel", "--labels", caffe / "labels.txt", "--modality",
        "rgb", "--crops", "1", "--frame-size", f"{SIDE}x{SIDE}", "--name", NAME, "--repository",
        repository,
    )  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    onnx = repository / NAME / "1" / "model.onnx"
    return [Case("tiny model, FP32", repository, onnx, "fp32", (SIDE, SIDE, 3), 50.0, heavy=False)]


def write_weights(path: Path) -> None:
    """Write random weights of the tiny net."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(0, 0.1, (CLASSES, POOLED)), rng.normal(0, 0.1, (CLASSES,))]
    file = WeightFile(name="tiny")
    blobs = [BlobProto(shape=BlobShape(dim=a.shape), data=a.ravel().tolist()) for a in arrays]
    file.layer.add(name="fc-action", blobs=blobs)
    path.write_bytes(file.SerializeToString())


def bn_inception(folder: Path) -> list[Case]:
    """Build BN-Inception with random weights, and its INT8 graph, calibrated on natural images."""
    folder = folder / "bn_inception"
    folder.mkdir()
    package = make_package(folder, "bn_inception", Modality.RGB)
    manifest = read_manifest(package)
    shape = tuple(manifest.input.shape)
    int8 = next(a.file for a in manifest.artifacts if a.file.startswith("model-int8-"))
    files = {"fp32": "model.onnx", "int8": int8}
    return [
        Case(
            f"BN-Inception, {precision.upper()}",
            package.parent.parent, package / file, precision, shape, 1000.0, heavy=True,
        )
        for precision, file in files.items()
    ]  # fmt: skip


MODELS: dict[str, Callable[[Path], list[Case]]] = {"tiny": tiny, "bn_inception": bn_inception}
