"""Verifies a model package: what it serves against what it should, in independent steps.

1. The serving graph, on frames, against TSN's preprocessing in NumPy, the network alone,
   and the mean over crops in NumPy.
2. A batch against its snippets alone, for streams share batches and must not meet in them.
3. The network alone against reference outputs, such as those of the original Caffe.
4. Every graph and engine in another precision against FP32; engines where they can run.

Before all that, files must be those that the manifest names, and plans of graphs that the
package still has.
"""

from collections.abc import Iterator
from pathlib import Path

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import OutOfTolerance
from tsnd_builder.graphs import load_serving_model, parse_graph
from tsnd_builder.manifest import read_file, read_manifest
from tsnd_builder.verification.findings import (
    REPORT_FILE,
    Finding,
    table,
    write_report,
)
from tsnd_builder.verification.plans import check_plans, not_run, plan_findings
from tsnd_builder.verification.precisions import FloatResults, onnx_findings
from tsnd_builder.verification.serving import reference_findings, serving_findings

_GRAPHS = (pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_TENSORRT_ONNX)


def verify_package(folder: Path, reference: Path | None = None) -> str:
    """Verify a package, write parity.json into it, and describe the result.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        reference: Inputs and outputs of the network; see `reference_findings`.

    Returns:
        A table.

    Raises:
        OutOfTolerance: When a comparison fails; its message has the table.
        PackageError: When a file is not what the manifest says, or a plan was built from a
            graph that has been replaced since.
        BuilderError: When the package or the reference cannot be read.
    """
    manifest = read_manifest(folder)
    check_plans(folder, manifest)
    model, entry = load_serving_model(folder)
    findings = list(serving_findings(entry.file, model, manifest))
    if reference is not None:
        findings += reference_findings(entry.file, model, reference)
    others = [a for a in manifest.artifacts if a.file != entry.file and a.precision]
    left_out = [entry for entry in map(not_run, others) if entry]
    runnable = [a for a in others if a.file not in {entry.artifact for entry in left_out}]
    if runnable:
        floats = FloatResults(model, manifest)
        for artifact in runnable:
            findings += _others(folder, artifact, floats)
    write_report(folder / REPORT_FILE, findings, left_out)
    text = "\n".join(table(findings, left_out))
    if not all(finding.is_within_tolerance for finding in findings):
        raise OutOfTolerance(f"{folder} differs by more than is allowed:\n{text}")
    return f"{text}\n{folder} is within what is allowed; see {REPORT_FILE}"


def _others(folder: Path, artifact: pb.Artifact, floats: FloatResults) -> Iterator[Finding]:
    if artifact.kind in _GRAPHS:
        model = parse_graph(read_file(folder, artifact), folder / artifact.file)
        yield from onnx_findings(artifact, model, floats)
    elif artifact.kind == pb.ARTIFACT_KIND_PLAN:
        yield from plan_findings(folder, artifact, floats)
