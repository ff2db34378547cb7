"""The four networks of TSN in every precision, as packages and as real plans."""

import importlib.util
import json
import lzma
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.__main__ import main
from tsnd_builder.manifest import read_artifact, read_manifest
from tsnd_builder.plans.build import build_plan
from tsnd_builder.plans.options import Backend, PlanOptions, profiles_for
from tsnd_builder.plans.tensors import IOTensor
from tsnd_builder.probes import natural_frames
from tsnd_builder.serving_graph import Modality

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "caffe" / "nets"
NETWORKS = [
    (network, modality) for network in ("bn_inception", "inception_v3") for modality in Modality
]
needs_golden_data = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the full golden data does not lie beside this repository"
)
CASES = [
    pytest.param((source, *net), id="-".join((source, *net)), marks=marks)
    for source, marks in (("synthetic", ()), ("golden", (needs_golden_data,)))
    for net in NETWORKS
    if source == "synthetic" or net[0] == "bn_inception"  # the others take too long
]
# Weights take most of a plan, in the precision of their layers.
MEGABYTES = {
    "bn_inception": {pb.PRECISION_FP32: (40, 60), pb.PRECISION_FP16: (20, 32)},
    "inception_v3": {pb.PRECISION_FP32: (85, 120), pb.PRECISION_FP16: (42, 60)},
}


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def write_caffe_model(folder, source, network, modality):
    """Write the Caffe files of a network: synthetic ones, or those of the golden data."""
    run("synth", network, "--modality", modality, "--out", folder)
    if source == "golden":
        golden = GOLDEN / f"{network}_{modality}"
        weights = lzma.decompress((golden / "weights.caffemodel.xz").read_bytes())
        (folder / "weights.caffemodel").write_bytes(weights)
        (folder / "deploy.prototxt").write_bytes((golden / "deploy.prototxt").read_bytes())


def write_images(folder, modality):
    """Write a video as dense_flow does: JPEG files of frames, or of x and y flow."""
    folder.mkdir()
    count = 50  # 25 ticks, two apart
    if modality is Modality.RGB:
        for i, frame in enumerate(natural_frames((256, 340, 3), modality, count, 5), start=1):
            cv2.imwrite(str(folder / f"img_{i:05d}.jpg"), frame)
        return
    for i, (x, y) in enumerate(natural_frames((2, 256, 340), modality, count, 5), start=1):
        cv2.imwrite(str(folder / f"flow_x_{i:05d}.jpg"), x)
        cv2.imwrite(str(folder / f"flow_y_{i:05d}.jpg"), y)


@pytest.fixture(scope="module", params=CASES)
def package(tmp_path_factory, request):
    """A package in all precisions; its INT8 may lose whatever it loses."""
    source, network, modality = request.param
    folder = tmp_path_factory.mktemp(network)
    caffe = folder / "caffe"
    write_caffe_model(caffe, source, network, modality)
    write_images(folder / "video", modality)
    run(
        *("build", "--prototxt", caffe / "deploy.prototxt"),
        *("--weights", caffe / "weights.caffemodel", "--labels", caffe / "labels.txt"),
        *("--modality", modality, "--name", network, "--repository", folder / "models"),
        *("--precision", "fp16,int8", "--calibration", folder / "video"),
        *("--int8-calibrator", "minmax", "--int8-max-drop", 1),
    )
    yield folder / "models" / network / "1"
    shutil.rmtree(folder)


def test_fp16_keeps_scores_and_classes_and_no_precision_gives_what_is_no_number(package):
    run("verify", package)

    report = json.loads((package / "parity.json").read_text())
    half = [f for f in report["findings"] if f["artifact"].startswith("model-fp16")]
    assert {f["inputs"] for f in half} == {"extreme", "noise", "natural"}
    assert all(f["agreement"]["max_error"] <= 1e-2 for f in half)
    assert all(f["agreement"]["clear_top1"] == 1 for f in half if f["output"] == "scores")
    assert all(np.isfinite(f["agreement"]["max_error"]) for f in report["findings"])


needs_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: make engines",
)


@needs_tensorrt_rtx
def test_tensorrt_rtx_builds_every_precision_without_a_warning(package):
    run(
        *("plan", package, "--backend", "tensorrt-rtx", "--precision", "fp32,fp16,int8"),
        *("--max-batch-size", 4),
    )

    manifest = read_manifest(package)
    plans = {a.precision: a for a in manifest.artifacts if a.kind == pb.ARTIFACT_KIND_PLAN}
    assert plans.keys() == {pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8}
    assert not [warning for a in plans.values() for warning in a.plan.parser_warnings]
    for precision, (least, most) in MEGABYTES[manifest.name].items():
        assert least < plans[precision].size_bytes / 1e6 < most
    assert plans[pb.PRECISION_INT8].size_bytes < plans[pb.PRECISION_FP16].size_bytes


@needs_tensorrt_rtx
@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        (pb.ARTIFACT_KIND_SERVING_ONNX, pb.PRECISION_FP32),
        (pb.ARTIFACT_KIND_SERVING_ONNX, pb.PRECISION_FP16),
        (pb.ARTIFACT_KIND_TENSORRT_ONNX, pb.PRECISION_INT8),
    ],
)
def test_a_plan_takes_bytes_and_gives_float32_in_every_precision(package, kind, precision):
    manifest = read_manifest(package)
    graph, _ = read_artifact(package, kind=kind, precision=precision)

    built = build_plan(graph, PlanOptions(Backend.TENSORRT_RTX, profiles_for(4)))

    assert built.inputs == (IOTensor("snippets", "uint8", (-1, *manifest.input.shape)),)
    outputs = [IOTensor(o.name, "float32", (-1, *o.shape)) for o in manifest.outputs]
    assert sorted(built.outputs, key=lambda t: t.name) == sorted(outputs, key=lambda t: t.name)
