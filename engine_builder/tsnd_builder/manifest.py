"""Reads manifests and the files that they name, and writes manifests as JSON."""

from datetime import UTC, datetime
from pathlib import Path

from google.protobuf import json_format

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.caffe.files import read_bytes, sha256
from tsnd_builder.errors import PackageError
from tsnd_builder.serving_graph import Modality

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODALITIES = {Modality.RGB: pb.MODALITY_RGB, Modality.FLOW: pb.MODALITY_FLOW}


def read_serving_model(folder: Path) -> tuple[bytes, pb.Artifact]:
    """Read the FP32 serving graph of a package, from which all others are made.

    Raises:
        FileUnreadable: When it is missing.
        PackageError: When it is not the one that the manifest names.
    """
    return read_artifact(folder, kind=pb.ARTIFACT_KIND_SERVING_ONNX, precision=pb.PRECISION_FP32)


def read_artifact(
    folder: Path,
    *,
    kind: pb.ArtifactKind.ValueType,
    precision: pb.Precision.ValueType,
) -> tuple[bytes, pb.Artifact]:
    """Read the file of a package that has this use, and its entry.

    Raises:
        FileUnreadable: When it is missing.
        PackageError: When the manifest names none, or another content.
    """
    manifest = read_manifest(folder)
    found = [a for a in manifest.artifacts if (a.kind, precision_of(a)) == (kind, precision)]
    if not found:
        raise PackageError(
            f"{folder} has no {pb.ArtifactKind.Name(kind)} in {pb.Precision.Name(precision)}."
        )
    return read_file(folder, found[0]), found[0]


def read_file(folder: Path, artifact: pb.Artifact) -> bytes:
    """Read a file that a manifest names.

    Raises:
        FileUnreadable: When it is missing.
        PackageError: When it has another content than the manifest says.
    """
    path = folder / artifact.file
    data = read_bytes(path)
    if sha256(data) != artifact.sha256:
        raise PackageError(f"{path} is not the file that was built. Build the package again.")
    return data


def manifest_json(manifest: pb.ModelManifest) -> bytes:
    """Return a manifest as the JSON that a package holds."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True, indent=2)
    return f"{text}\n".encode()


def read_manifest(folder: Path) -> pb.ModelManifest:
    """Read the manifest of a package.

    Returns:
        The manifest; the files that it names are in its folder, their precisions known.

    Raises:
        FileUnreadable: When there is none that can be read.
        PackageError: When it is not a manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json_format.Parse(read_bytes(path), pb.ModelManifest())
    except (json_format.ParseError, UnicodeDecodeError) as err:
        reason = str(err).partition("\n")[0]
        raise PackageError(f"{path} is not a manifest of this version of tsnd: {reason}") from err
    if manifest.format_version != FORMAT_VERSION or manifest.modality not in MODALITIES.values():
        raise PackageError(
            f"{path} has format {manifest.format_version} and modality {manifest.modality}; this "
            f"version of tsnd knows format {FORMAT_VERSION}, rgb and flow. Build the package anew."
        )
    for artifact in manifest.artifacts:
        _check_artifact(artifact, path)
    return manifest


def _check_artifact(artifact: pb.Artifact, source: Path) -> None:
    file = artifact.file
    if Path(file).name != file or file in ("", "..", MANIFEST_FILE) or not file.isprintable():
        raise PackageError(
            f"{source} names the file {file!r}, expected one that lies beside it. Build the "
            "package anew."
        )
    if artifact.precision not in pb.Precision.values():
        raise PackageError(
            f"{source}: {file} has precision {artifact.precision}, which this version of tsnd "
            "does not know. Build the package anew."
        )


def precision_of(artifact: pb.Artifact) -> pb.Precision.ValueType:
    """Return the arithmetic of a file; serving graphs without one are from before FP16."""
    if artifact.kind == pb.ARTIFACT_KIND_SERVING_ONNX and not artifact.precision:
        return pb.PRECISION_FP32
    return artifact.precision


def now() -> str:
    """Return the time as manifests state it: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def modality_of(manifest: pb.ModelManifest) -> Modality:
    """Return what the snippets of a model are made of."""
    return next(key for key, value in MODALITIES.items() if value == manifest.modality)
