"""Finds model packages in a repository and checks that they are whole.

Only the newest version of each model is served. A package that does not hold what its
manifest says ends the start: better no daemon than one with a wrong model.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SCORES = "scores"

_PRECISIONS = {
    "fp32": pb.PRECISION_FP32,
    "fp16": pb.PRECISION_FP16,
    "int8": pb.PRECISION_INT8,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A package that can be served: its manifest and the path of its serving graph."""

    manifest: pb.ModelManifest
    onnx_path: Path


def load_models(repository: Path, precision: str = "fp32") -> dict[str, Model]:
    """Find and check the newest version of every model.

    Args:
        repository: Folder of NAME/VERSION packages; hidden folders are ignored.
        precision: Which of a package's graphs is run: fp32, fp16 or int8.

    Returns:
        At least one model, by name.

    Raises:
        PackageError: When there is none, or one is damaged or of an unknown format.
    """
    if not repository.is_dir():
        raise PackageError(
            f"the model repository {repository} is not a folder. Build a model into it with "
            "tsn-build build --repository, or name another with --model-repository."
        )
    try:
        newest = list(_newest_versions(repository))
    except OSError as err:
        raise PackageError(
            f"cannot read the model repository at {err.filename}: {err.strerror}. Check who may."
        ) from err
    models = {folder.parent.name: load_package(folder, precision) for folder in newest}
    if not models:
        raise PackageError(
            f"the model repository {repository} holds no model. Build one into it with "
            f"tsn-build build --repository {repository}."
        )
    return models


def load_package(folder: Path, precision: str = "fp32") -> Model:
    """Read and check one package.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        precision: Which of its graphs is run: fp32, fp16 or int8.

    Raises:
        PackageError: When it is damaged, incomplete or of an unknown format.
    """
    manifest = _read_manifest(folder)
    if manifest.format_version != FORMAT_VERSION:
        raise PackageError(
            f"{folder} has format version {manifest.format_version}, this tsnd reads "
            f"{FORMAT_VERSION}. Build it again with the tsn-build of this release."
        )
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise PackageError(
            f"{folder} says that it is {manifest.name!r} version {manifest.version}. Packages "
            "cannot be renamed by moving their folders; build it under the wanted name."
        )
    _check_tensors(manifest, folder)
    for artifact in manifest.artifacts:
        _check_artifact(artifact, folder)
    return Model(manifest, folder / _graph(manifest, precision, folder))


def _newest_versions(repository: Path) -> Iterator[Path]:
    for model in sorted(repository.iterdir()):
        if model.name.startswith(".") or not model.is_dir():
            continue
        versions = [path for path in model.iterdir() if path.name.isdecimal()]
        if versions:
            yield max(versions, key=lambda path: int(path.name))
        else:
            logger.warning("%s has no version folder; ignored", model)


def _read_manifest(folder: Path) -> pb.ModelManifest:
    path = folder / MANIFEST_FILE
    try:
        return json_format.Parse(path.read_bytes(), pb.ModelManifest())
    except OSError as err:
        raise PackageError(f"{path}: {err.strerror}. The package is incomplete.") from err
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as err:
        raise PackageError(
            f"{path} is not a manifest that this tsnd reads: {err}. Build the package again."
        ) from err


def _check_tensors(manifest: pb.ModelManifest, folder: Path) -> None:
    """Check what the rooms behind rely on."""
    if manifest.modality not in (pb.MODALITY_RGB, pb.MODALITY_FLOW):
        raise PackageError(f"{folder} has no known modality; build the package again.")
    shape = list(manifest.input.shape)
    if manifest.input.data_type != pb.DATA_TYPE_UINT8 or len(shape) != 3 or 0 in shape:
        raise PackageError(f"{folder} takes {shape}, expected uint8 of three axes.")
    lengths = {output.name: list(output.shape) for output in manifest.outputs}
    if lengths.get(SCORES) != [len(manifest.labels)]:
        raise PackageError(
            f"{folder} has {len(manifest.labels)} labels and the outputs {lengths}; expected an "
            f"output {SCORES!r} of one value per label."
        )


def _graph(manifest: pb.ModelManifest, precision: str, folder: Path) -> str:
    """Return the file of the serving graph in a precision."""
    serving = [a for a in manifest.artifacts if a.kind == pb.ARTIFACT_KIND_SERVING_ONNX]
    # Graphs from before there were precisions state none and are FP32.
    files = {(a.precision or pb.PRECISION_FP32): a.file for a in serving}
    if not serving or len(files) != len(serving):
        raise PackageError(
            f"{folder} lists {len(serving)} serving graphs in {len(files)} precisions, expected "
            "one in each. Build the package again."
        )
    if _PRECISIONS[precision] not in files:
        calibration = " --calibration VIDEO_OR_FOLDER" if precision == "int8" else ""
        raise PackageError(
            f"{folder} has no {precision} graph. Add one with tsn-build add {folder} --precision "
            f"{precision}{calibration}, or start with another --precision."
        )
    return files[_PRECISIONS[precision]]


def _check_artifact(artifact: pb.Artifact, folder: Path) -> None:
    """Check that a file of the package is there and has the recorded content."""
    if Path(artifact.file).name != artifact.file or not artifact.file.isprintable():
        raise PackageError(f"{folder} names the file {artifact.file!r}, which is not inside it.")
    path = folder / artifact.file
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise PackageError(f"{path}: {err.strerror}. The package is incomplete.") from err
    if digest != artifact.sha256:
        raise PackageError(
            f"{path} is not the file that was built (sha256 {digest[:16]}..., expected "
            f"{artifact.sha256[:16]}...). Copy or build the package again."
        )
