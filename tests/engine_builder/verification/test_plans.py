"""Verification of plans: run where they can, named with the reason where not, never stale."""

import json
import shutil

import numpy as np
import onnx
import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_builder import commands
from tsnd_builder.artifacts import NewArtifact, Precision
from tsnd_builder.errors import FileUnreadable, PackageError
from tsnd_builder.manifest import read_manifest
from tsnd_builder.package import add_to_package
from tsnd_builder.plans.build import availability
from tsnd_builder.plans.gpu import find_gpu
from tsnd_builder.plans.options import Backend, PlanOptions, Profile
from tsnd_builder.verification.plans import check_plans
from tsnd_builder.verification.precisions import FloatResults, compare_results
from tsnd_builder.verify import verify_package

PROFILES = (Profile(1, 4, 4), Profile(8, 8, 16))
NO_RTX = availability(Backend.TENSORRT_RTX)


@pytest.fixture
def package(tiny_repository, tmp_path):
    folder = tmp_path / "models" / "tiny_flow" / "1"
    shutil.copytree(tiny_repository / "tiny_flow" / "1", folder)
    commands.add(folder, commands.Lower(frozenset({Precision.FP16})))
    return folder


def add_plan(folder, *, source="", **facts):
    """Add a plan of nothing, for machines of another world."""
    plan = pb.Plan(
        backend="tensorrt",
        backend_version="0.1",
        source_sha256=source or hash_of(folder, pb.PRECISION_FP16),
        profiles=[pb.Profile(min=1, opt=1, max=1)],
    )
    plan.MergeFrom(pb.Plan(**facts))
    description = pb.Artifact(kind=pb.ARTIFACT_KIND_PLAN, precision=pb.PRECISION_FP16, plan=plan)
    new = NewArtifact(description, "plan", ".plan", b"no plan")
    add_to_package(folder, [new])
    return new.entry().file


def hash_of(folder, precision):
    graphs = [a for a in read_manifest(folder).artifacts if a.precision == precision]
    return graphs[0].sha256


def test_a_plan_of_a_graph_that_the_package_has_may_stay(package):
    add_plan(package)

    check_plans(package, read_manifest(package))


def test_a_plan_is_stale_once_its_graph_has_been_replaced(package):
    file = add_plan(package)
    graph = pb.Artifact(kind=pb.ARTIFACT_KIND_SERVING_ONNX, precision=pb.PRECISION_FP16)
    data = (package / "model.onnx").read_bytes()
    add_to_package(package, [NewArtifact(graph, "model-fp16", ".onnx", data + b"\n")])

    with pytest.raises(
        PackageError,
        match=rf"no longer has the graphs .*: {file}\. Build them again: "
        rf"tsn-build plan {package} --backend tensorrt --precision fp16$",
    ):
        verify_package(package)

    assert not (package / "parity.json").exists()


def test_a_plan_that_was_changed_is_refused_although_it_is_not_run(package):
    file = add_plan(package)
    (package / file).write_bytes(b"another plan")

    with pytest.raises(PackageError, match=rf"{file} is not the file that was built"):
        verify_package(package)


def test_a_plan_that_is_missing_is_refused_although_it_is_not_run(package):
    file = add_plan(package)
    (package / file).unlink()

    with pytest.raises(FileUnreadable, match=file):
        verify_package(package)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"weight_stripped": True}, "its weights are left out (--weight-stripped)"),
        ({"backend": "npu"}, "this version of tsnd does not know its backend 'npu'"),
    ],
)
def test_a_plan_that_cannot_run_is_named_with_the_reason(package, facts, reason):
    file = add_plan(package, **facts)

    text = verify_package(package)

    (entry,) = json.loads((package / "parity.json").read_text())["not_run"]
    assert f"{file} was not run: {reason}" in text
    assert entry["artifact"] == file
    assert entry["reason"].startswith(reason)


@pytest.mark.parametrize(("tf32", "tolerance"), [(False, 2e-4), (True, 1e-2)])
def test_an_fp32_plan_may_be_off_like_fp16_where_tf32_is_allowed(package, tf32, tolerance):
    reference = FloatResults(onnx.load(package / "model.onnx"), read_manifest(package))
    entry = pb.Artifact(precision=pb.PRECISION_FP32, plan=pb.Plan(tf32=tf32))

    findings = list(compare_results(entry, iter(reference.expected), reference))

    assert {finding.tolerance for finding in findings} == {tolerance}


@pytest.mark.skipif(find_gpu() is not None, reason="for machines without a GPU")
@pytest.mark.skipif(NO_RTX is not None, reason=str(NO_RTX))
def test_without_a_gpu_a_package_with_plans_passes_and_says_that_they_were_not_run(package):
    options = PlanOptions(Backend.TENSORRT_RTX, PROFILES)
    commands.plan(package, [Precision.FP32, Precision.FP16], options)

    lines = verify_package(package).splitlines()

    reason = "it needs an NVIDIA GPU, and here is no CUDA device or no driver"
    plans = [path.name for path in package.glob("*.plan")]
    assert sorted(lines[-3:-1]) == sorted(f"{plan} was not run: {reason}" for plan in plans)
    assert lines[-1].endswith("is within what is allowed; see parity.json")


@pytest.mark.gpu
@pytest.mark.parametrize("backend", list(Backend))
def test_plans_of_all_precisions_are_run_and_compared_on_a_gpu(backend, package):
    reason = availability(backend)
    if find_gpu() is None or reason:
        pytest.skip(reason or "no CUDA device or no driver")
    commands.plan(package, [Precision.FP32, Precision.FP16], PlanOptions(backend, PROFILES))

    text = verify_package(package)

    report = json.loads((package / "parity.json").read_text())
    for plan in package.glob("*.plan"):
        assert f"{plan.name} against FP32, batches of 1 to 4" in text
        assert f"{plan.name} against FP32, batches of 8 to 16" in text
        errors = [f["agreement"] for f in report["findings"] if f["artifact"] == plan.name]
        assert np.isfinite([error["max_error"] for error in errors]).all()
    assert report["not_run"] == []
