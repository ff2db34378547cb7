"""Plans: whether they still belong to their package, and how far they are from FP32."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import PRECISIONS
from tsnd_builder.errors import PackageError, PlanError
from tsnd_builder.manifest import read_file
from tsnd_builder.plans.options import Backend, Profile
from tsnd_builder.plans.run import run_plan, this_machine, unavailable
from tsnd_builder.verification.findings import Finding, NotRun
from tsnd_builder.verification.precisions import FloatResults, compare_results


def check_plans(folder: Path, manifest: pb.ModelManifest) -> None:
    """Refuse plans that are not what was built, or not of what the package has.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        manifest: The package's.

    Raises:
        FileUnreadable: When one is missing.
        PackageError: When one has another content than the manifest says, or was built from
            a graph that has been replaced since.
    """
    plans = [a for a in manifest.artifacts if a.kind == pb.ARTIFACT_KIND_PLAN]
    for artifact in plans:
        read_file(folder, artifact)
    graphs = {artifact.sha256 for artifact in manifest.artifacts}
    stale = [a for a in plans if a.plan.source_sha256 not in graphs]
    if stale:
        remedies = dict.fromkeys(_command(folder, artifact) for artifact in stale)
        raise PackageError(
            f"{folder} no longer has the graphs that these plans were built from: "
            f"{', '.join(a.file for a in stale)}. Build them again: {' && '.join(remedies)}"
        )


def not_run(artifact: pb.Artifact) -> NotRun | None:
    """Say whether this machine cannot run a file of a package, and why."""
    if artifact.kind != pb.ARTIFACT_KIND_PLAN:
        return None
    reason = unavailable(artifact.plan, this_machine(artifact.plan.backend))
    return None if reason is None else NotRun(artifact.file, reason)


def plan_findings(
    folder: Path, artifact: pb.Artifact, reference: FloatResults
) -> Iterator[Finding]:
    """Compare a plan that runs here with FP32, in each of its profiles.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        artifact: The plan's entry in the manifest.
        reference: FP32's results.

    Raises:
        PackageError: When it does not run, or its results have other shapes.
    """
    profiles = [Profile(p.min, p.opt, p.max) for p in artifact.plan.profiles]
    try:
        results = run_plan(
            read_file(folder, artifact),
            Backend(artifact.plan.backend),
            profiles=profiles,
            inputs=[frames for _, frames in reference.frames],
            outputs=reference.outputs,
        )
    except PlanError as err:
        raise PackageError(f"{artifact.file}: {err} Build it again.") from err
    for profile, found in zip(profiles, results, strict=True):
        against = f"FP32, batches of {profile.min} to {profile.max}"
        for finding in compare_results(artifact, iter(found), reference):
            yield replace(finding, against=against)


def _command(folder: Path, artifact: pb.Artifact) -> str:
    """Return what builds a plan."""
    names = {value: name for name, value in PRECISIONS.items()}
    precision = names.get(artifact.precision, "PRECISION")
    return f"tsn-build plan {folder} --backend {artifact.plan.backend} --precision {precision}"
