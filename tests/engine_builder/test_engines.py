"""Plans of packages; really built where TensorRT-RTX is installed, which needs no GPU."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_builder import commands
from tsnd_builder.artifacts import PRECISIONS, Precision
from tsnd_builder.engines import make_plan, timing_cache_of
from tsnd_builder.errors import FileUnreadable, PackageError
from tsnd_builder.manifest import read_manifest
from tsnd_builder.plans.build import availability
from tsnd_builder.plans.options import Backend, PlanOptions, Profile
from tsnd_builder.plans.progress import Progress

RTX = Backend.TENSORRT_RTX
needs_rtx = pytest.mark.skipif(availability(RTX) is not None, reason=str(availability(RTX)))


@pytest.fixture
def package(tiny_repository, tmp_path):
    """A package with graphs in FP32 and FP16."""
    folder = tmp_path / "models" / "tiny_rgb" / "1"
    shutil.copytree(tiny_repository / "tiny_rgb" / "1", folder)
    commands.add(folder, commands.Lower(frozenset({Precision.FP16})))
    return folder


def options(*profiles, **changes):
    return PlanOptions(RTX, profiles or (Profile(1, 2, 4),), **changes)


def plans_in(folder):
    artifacts = read_manifest(folder).artifacts
    return [artifact for artifact in artifacts if artifact.kind == pb.ARTIFACT_KIND_PLAN]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_rtx
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_a_plan_joins_a_package_with_all_that_is_known_of_it(package, precision):
    graphs = {a.precision: a for a in read_manifest(package).artifacts if a.precision}
    chosen = options(Profile(1, 2, 4), Profile(8, 8, 8), workspace_bytes=1 << 26, tf32=True)

    line = commands.plan(package, [precision], chosen)

    (entry,) = plans_in(package)
    graph, plan = graphs[PRECISIONS[precision]], entry.plan
    assert line.startswith(f"{package / entry.file}: ")
    assert (package / entry.file).stat().st_size == entry.size_bytes
    assert entry.precision == graph.precision
    assert entry.float_nodes == graph.float_nodes
    assert plan.backend == "tensorrt-rtx"
    assert plan.backend_version in line
    assert [(p.min, p.opt, p.max) for p in plan.profiles] == [(1, 2, 4), (8, 8, 8)]
    assert plan.source_sha256 == graph.sha256
    assert (plan.workspace_bytes, plan.tf32) == (1 << 26, True)
    assert plan.hardware_compatibility == "none"
    assert not plan.HasField("optimization_level")
    assert entry.built_at.endswith("+00:00")


@needs_rtx
def test_a_plan_built_again_takes_the_place_of_the_old_one(package):
    commands.plan(package, [Precision.FP32, Precision.FP16], options())
    old, kept = plans_in(package)

    commands.plan(package, [Precision.FP32], options(Profile(1, 8, 8)))

    new = next(plan for plan in plans_in(package) if plan.precision == pb.PRECISION_FP32)
    assert new.file != old.file
    assert {plan.file for plan in plans_in(package)} == {new.file, kept.file}


@needs_rtx
def test_plans_for_other_gpus_stand_side_by_side(package):
    for capability in ("8.6", "12.0"):
        chosen = options(compute_capabilities=(capability,))
        commands.plan(package, [Precision.FP32], chosen)

    assert [p.plan.compute_capability for p in plans_in(package)] == ["8.6", "12.0"]


@pytest.mark.parametrize("backend", list(Backend))
def test_a_graph_that_is_missing_is_named_with_the_command_that_makes_it(package, backend):
    chosen = PlanOptions(backend, (Profile(1, 1, 1),))

    with pytest.raises(
        PackageError,
        match=r"no ARTIFACT_KIND_TENSORRT_ONNX in PRECISION_INT8\. Make one: tsn-build add .*"
        r"tiny_rgb/1 --precision int8 --calibration VIDEO_OR_FOLDER$",
    ):
        make_plan(package, Precision.INT8, chosen, report=print, progress=None)


def test_a_graph_that_was_changed_gets_no_plan(package):
    (package / "model.onnx").write_bytes(b"something else")

    with pytest.raises(PackageError, match=r"model\.onnx is not the file that was built"):
        commands.plan(package, [Precision.FP32], options())


def test_what_is_no_package_gets_no_plan(tmp_path):
    with pytest.raises(FileUnreadable, match=r"manifest\.json"):
        commands.plan(tmp_path, [Precision.FP32], options())


@needs_rtx
def test_one_plan_that_fails_leaves_the_package_as_it_was(package):
    before = contents(package)

    with pytest.raises(PackageError, match="PRECISION_INT8"):
        commands.plan(package, [Precision.FP32, Precision.INT8], options())

    assert contents(package) == before


@needs_rtx
def test_no_plan_is_begun_when_a_graph_is_missing(package):
    steps: list[Progress] = []

    with pytest.raises(PackageError, match="PRECISION_INT8"):
        wanted = [Precision.FP32, Precision.INT8]
        commands.plan(package, wanted, options(), progress=steps.append)

    assert steps == []


@needs_rtx
def test_ctrl_c_leaves_the_package_as_it_was(package):
    def interrupt(progress):
        if progress.fraction > 0 and not pressed:
            pressed.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    before, pressed = contents(package), []

    with pytest.raises(KeyboardInterrupt):
        commands.plan(package, [Precision.FP32], options(), progress=interrupt)

    assert contents(package) == before


def test_all_packages_of_a_repository_share_their_kernel_timings(tmp_path, monkeypatch):
    (tmp_path / "models/tiny/1").mkdir(parents=True)

    cache = tmp_path.resolve() / "models" / ".tensorrt-timing.cache"
    assert timing_cache_of(tmp_path / "models/tiny/1") == cache
    monkeypatch.chdir(tmp_path / "models/tiny/1")
    assert timing_cache_of(Path()) == cache
