"""Finds model packages in a repository and checks that they are whole."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError
from tsnd_daemon.settings import Backend
from tsnd_daemon.snippets import SCORES

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Package:
    """A model package that is whole: its manifest, and the folder with its files."""

    manifest: pb.ModelManifest
    folder: Path


@dataclass(frozen=True, slots=True)
class Model:
    """What is run: a package's graph or plan, and the backend that runs it.

    Attributes:
        manifest: Of the package.
        artifact: The manifest's entry of the file.
        path: The file.
        backend: Never auto.
    """

    manifest: pb.ModelManifest
    artifact: pb.Artifact
    path: Path
    backend: Backend


def find_versions(repository: Path) -> dict[str, list[int]]:
    """List the versions of every model in a repository, without reading them.

    Args:
        repository: Folder of NAME/VERSION packages; hidden folders and other files are
            ignored.

    Returns:
        Versions in ascending order, by model name; a folder without any has none.

    Raises:
        PackageError: When the repository cannot be read.
    """
    if not repository.is_dir():
        raise PackageError(
            f"the model repository {repository} is not a folder. Build a model into it with "
            "tsn-build build --repository, or name another with --model-repository."
        )
    try:
        return {folder.name: sorted(_versions(folder)) for folder in _models(repository)}
    except OSError as err:
        raise PackageError(
            f"cannot read the model repository at {err.filename}: {err.strerror}. Check who may."
        ) from err


def load_package(folder: Path) -> Package:
    """Read and check one package.

    Args:
        folder: REPOSITORY/NAME/VERSION.

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
    return Package(manifest, folder)


def _models(repository: Path) -> Iterator[Path]:
    for folder in sorted(repository.iterdir()):
        if not folder.name.startswith(".") and folder.is_dir():
            yield folder


def _versions(model: Path) -> Iterator[int]:
    for path in model.iterdir():
        # As the builder writes them: 007 and 7 would else be one version.
        if path.name.isdecimal() and path.name == str(int(path.name)):
            yield int(path.name)


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
