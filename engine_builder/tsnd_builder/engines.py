"""Makes the plans of a package: which graph each is built from, and what is noted of it."""

from pathlib import Path

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import PRECISIONS, NewArtifact, Precision
from tsnd_builder.errors import PackageError
from tsnd_builder.manifest import now, read_artifact
from tsnd_builder.plans.build import BuiltPlan, Report, build_plan
from tsnd_builder.plans.options import PlanOptions
from tsnd_builder.plans.progress import Listener

TIMING_CACHE = ".tensorrt-timing.cache"
"""Beside the models of a repository, hidden from the daemon."""


def timing_cache_of(folder: Path) -> Path:
    """Return the file of kernel timings that all packages of a repository share.

    Args:
        folder: REPOSITORY/NAME/VERSION.
    """
    return folder.resolve().parent.parent / TIMING_CACHE


def make_plan(
    folder: Path,
    precision: Precision,
    options: PlanOptions,
    *,
    report: Report,
    progress: Listener | None,
) -> NewArtifact:
    """Build a plan of a package's graph in a precision.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        precision: Of the graph.
        options: How to build.
        report: Called with the library's warnings.
        progress: Told how far the build is.

    Raises:
        PackageError: When the package has no graph in this precision.
        PlanError: When the backend is not available, or refuses the graph.
    """
    graph, entry = read_source(folder, precision)
    built = build_plan(graph, options, report=report, progress=progress)
    description = pb.Artifact(
        kind=pb.ARTIFACT_KIND_PLAN,
        precision=PRECISIONS[precision],
        float_nodes=entry.float_nodes,
        plan=_description(built, options, entry),
        built_at=now(),
    )
    return NewArtifact(description, f"{options.backend}-{precision}", ".plan", built.data)


def read_source(folder: Path, precision: Precision) -> tuple[bytes, pb.Artifact]:
    """Read the graph that TensorRT takes in a precision.

    Raises:
        PackageError: When the package has none.
    """
    is_int8 = precision is Precision.INT8
    kind = pb.ARTIFACT_KIND_TENSORRT_ONNX if is_int8 else pb.ARTIFACT_KIND_SERVING_ONNX
    try:
        return read_artifact(folder, kind=kind, precision=PRECISIONS[precision])
    except PackageError as err:
        calibration = " --calibration VIDEO_OR_FOLDER" if is_int8 else ""
        raise PackageError(
            f"{err} Make one: tsn-build add {folder} --precision {precision}{calibration}"
        ) from err


def _description(built: BuiltPlan, options: PlanOptions, source: pb.Artifact) -> pb.Plan:
    return pb.Plan(
        backend=built.backend,
        backend_version=built.backend_version,
        profiles=[pb.Profile(min=p.min, opt=p.opt, max=p.max) for p in options.profiles],
        gpu=built.gpu,
        compute_capability=built.compute_capability,
        source_sha256=source.sha256,
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatibility,
        weight_stripped=options.weight_stripped,
        refittable=options.refittable,
        tf32=options.tf32,
        workspace_bytes=options.workspace_bytes or 0,
        optimization_level=options.optimization_level,
        build_seconds=built.build_seconds,
        parser_warnings=built.parser_warnings,
    )
