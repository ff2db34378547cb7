"""Reads manifests and the files that they name, and writes manifests as JSON."""

from datetime import UTC, datetime
from pathlib import Path

import onnx
from google.protobuf import json_format

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.caffe.files import read_bytes, sha256
from tsnd_builder.errors import PackageError
from tsnd_builder.serving_graph import SCORES, Modality

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
_CROPS = (1, 10)
MODALITIES = {Modality.RGB: pb.MODALITY_RGB, Modality.FLOW: pb.MODALITY_FLOW}


def read_serving_model(folder: Path) -> tuple[bytes, pb.Artifact]:
    """Read the FP32 serving graph of a package, from which all others are made.

    Raises:
        FileUnreadable: When it is missing.
        PackageError: When it is not the one that the manifest names.
    """
    return read_artifact(folder, kind=pb.ARTIFACT_KIND_SERVING_ONNX, precision=pb.PRECISION_FP32)


def load_serving_model(folder: Path) -> tuple[onnx.ModelProto, pb.Artifact]:
    """Load the FP32 serving graph of a package, and check that it is what the manifest says.

    Raises:
        FileUnreadable: When it is missing.
        PackageError: When it is not the one that the manifest names, or takes or gives
            something else than it promises.
    """
    manifest = read_manifest(folder)
    data, entry = read_serving_model(folder)
    model = parse_graph(data, folder / entry.file)
    _check_sizes(manifest, folder)
    taken = {v.name: _row_shape(v) for v in model.graph.input}
    given = {v.name: _row_shape(v) for v in model.graph.output}
    promised = {output.name: list(output.shape) for output in manifest.outputs}
    if (
        taken != {manifest.input.name: list(manifest.input.shape)}
        or SCORES not in promised
        or not promised.items() <= given.items()
    ):
        raise PackageError(
            f"{folder / entry.file} takes {taken} and gives {given}; its manifest promises "
            f"{manifest.input.name} of {list(manifest.input.shape)} and {promised}. Build the "
            "package anew."
        )
    return model, entry


def parse_graph(data: bytes, path: Path) -> onnx.ModelProto:
    """Parse an ONNX file.

    Raises:
        PackageError: When it is none.
    """
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except Exception as err:
        raise PackageError(
            f"{path} is not an ONNX file: {str(err)[:200]}. Build it again."
        ) from err
    return model


def _row_shape(value: onnx.ValueInfoProto) -> list[int]:
    """Return the shape of a tensor without the batch axis."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]


def _check_sizes(manifest: pb.ModelManifest, folder: Path) -> None:
    """Refuse sizes that do not fit together, before arrays are made of them."""
    pre, is_flow = manifest.preprocessing, manifest.modality == pb.MODALITY_FLOW
    frame, channels = [pre.frame_height, pre.frame_width], 2 * pre.stack_depth if is_flow else 3
    expected = [channels, *frame] if is_flow else [*frame, channels]
    if not (
        list(manifest.input.shape) == expected
        and len(pre.mean) == channels > 0
        and 0 < pre.crop_size <= min(frame)
        and pre.crops_per_snippet in _CROPS
    ):
        raise PackageError(
            f"{folder / MANIFEST_FILE} has sizes that do not fit together: snippets of "
            f"{list(manifest.input.shape)}, {pre.crops_per_snippet} crop(s) of {pre.crop_size} "
            f"from {pre.frame_height} x {pre.frame_width}, stack depth {pre.stack_depth}, "
            f"{len(pre.mean)} mean value(s). Build the package anew."
        )


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
