"""Writes model packages: REPOSITORY/NAME/VERSION with manifest, serving graph and labels.

A package appears in one rename, so a reader sees a whole one or none, and a build that
is killed leaves only a hidden staging folder that the next build sweeps away.
"""

import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import onnx

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact, finished, join
from tsnd_builder.caffe.files import read_bytes, sha256
from tsnd_builder.caffe.graph import Graph
from tsnd_builder.errors import PackageError, SelectionError
from tsnd_builder.heads import LinearHead
from tsnd_builder.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    MODALITIES,
    manifest_json,
    now,
    read_manifest,
)
from tsnd_builder.serving_graph import (
    FEATURES,
    INPUT,
    SCORES,
    Heads,
    ServingSpec,
    classes,
    feature_length,
)
from tsnd_builder.storage import exclusive, replace_file, sweep, sync_folder, write_folder

ONNX_FILE = "model.onnx"
LABELS_FILE = "labels.txt"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STAGING = ".staging-"
_TOOLS = ("tsnd", "onnx", "numpy", "protobuf")


@dataclass(frozen=True, slots=True)
class Package:
    """A package before it is written.

    Attributes:
        manifest: The manifest, but for its version, which is given when it is written.
        files: Contents by file name.
    """

    manifest: pb.ModelManifest
    files: Mapping[str, bytes]


def read_labels(path: Path, *, count: int) -> tuple[str, ...]:
    """Read class names, one per line.

    Args:
        path: A UTF-8 text file; empty lines at its end are ignored.
        count: How many the network has classes for.

    Raises:
        FileUnreadable: When it cannot be read.
        SelectionError: When it is not text, has an empty line or another number of them.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as err:
        raise SelectionError(f"{path} is not UTF-8 text (byte {err.start}).") from err
    labels = tuple(line.strip() for line in lines)
    if "" in labels:
        raise SelectionError(f"{path}, line {labels.index('') + 1}: a class name is empty.")
    if len(labels) != count:
        raise SelectionError(
            f"{path} names {len(labels)} classes, the network scores {count}. "
            "Give one name per line, in the order of the training labels."
        )
    return labels


def check_name(name: str) -> str:
    """Return a model name that is safe as a folder name and on the wire.

    Raises:
        SelectionError: When it is not.
    """
    if not _NAME.fullmatch(name):
        raise SelectionError(
            f"{name!r} is not a model name: use letters, digits, '.', '_' and '-', first a letter "
            "or digit, at most 128 characters."
        )
    return name


def make_package(
    *,
    name: str,
    graph: Graph,
    spec: ServingSpec,
    heads: Heads,
    model: onnx.ModelProto,
    labels: tuple[str, ...],
    sources: tuple[Path, ...],
    linear_heads: tuple[LinearHead, ...] = (),
) -> Package:
    """Describe a model and gather its files.

    Args:
        name: Name under which it is served.
        graph: The network.
        spec: Its preprocessing.
        heads: The blobs behind its outputs.
        model: Its serving graph.
        labels: Class names, as many as it has classes.
        sources: The files that it was built from.
        linear_heads: Its further outputs.
    """
    files = {
        ONNX_FILE: model.SerializeToString(),
        LABELS_FILE: "".join(f"{label}\n" for label in labels).encode(),
    }
    built_at = now()
    descriptions = {
        ONNX_FILE: pb.Artifact(
            kind=pb.ARTIFACT_KIND_SERVING_ONNX, precision=pb.PRECISION_FP32, built_at=built_at
        ),
        LABELS_FILE: pb.Artifact(kind=pb.ARTIFACT_KIND_LABELS),
    }
    manifest = pb.ModelManifest(
        format_version=FORMAT_VERSION,
        name=check_name(name),
        modality=MODALITIES[spec.modality],
        preprocessing=pb.Preprocessing(
            frame_height=spec.frame_height,
            frame_width=spec.frame_width,
            crop_size=spec.crop_size,
            crops_per_snippet=spec.crops_per_snippet,
            mean=spec.mean,
            stack_depth=spec.stack_depth,
        ),
        input=pb.TensorSpec(name=INPUT, data_type=pb.DATA_TYPE_UINT8, shape=spec.snippet_shape),
        outputs=[
            _output(SCORES, classes(graph, heads), heads.scores),
            _output(FEATURES, feature_length(graph, heads), heads.features),
            *(_output(head.name, len(head.bias), "") for head in linear_heads),
        ],
        labels=labels,
        artifacts=[finished(descriptions[file], file, data) for file, data in files.items()],
        sources=[pb.Source(file=path.name, sha256=sha256(read_bytes(path))) for path in sources],
        tool_versions={
            "python": platform.python_version(),
            **{tool: version(tool) for tool in _TOOLS},
        },
        built_at=built_at,
        network=graph.name,
    )
    return Package(manifest, files)


def extended(package: Package, new: Sequence[NewArtifact]) -> Package:
    """Return a package, not yet written, with more files."""
    entries = [artifact.entry() for artifact in new]
    manifest = pb.ModelManifest()
    manifest.CopyFrom(package.manifest)
    join(manifest, entries)
    contents = {e.file: a.data for e, a in zip(entries, new, strict=True)}
    return replace(package, manifest=manifest, files={**package.files, **contents})


def add_to_package(folder: Path, new: Sequence[NewArtifact]) -> None:
    """Add files to a package that exists, in place of those of the same use that it had.

    The manifest changes last, in one rename. Files that it no longer names stay until the
    next call, for a daemon may have read the old manifest and not yet the files.

    Raises:
        PackageError: When the package cannot be read or written.
    """
    entries = [artifact.entry() for artifact in new]
    try:
        with exclusive(folder):
            manifest = read_manifest(folder)
            sweep(folder, keep={artifact.file for artifact in manifest.artifacts})
            for entry, artifact in zip(entries, new, strict=True):
                replace_file(folder / entry.file, artifact.data)
            join(manifest, entries)
            replace_file(folder / MANIFEST_FILE, manifest_json(manifest))
    except OSError as err:
        raise PackageError(
            f"cannot write to the package {folder}: {err.strerror} ({err.filename})."
        ) from err


def write_package(package: Package, repository: Path) -> Path:
    """Write a package as the next version of its model, all of it or nothing.

    Args:
        package: The package.
        repository: The model repository; made if it does not exist.

    Returns:
        The package's folder, REPOSITORY/NAME/VERSION.

    Raises:
        PackageError: When the repository cannot be written.
    """
    model_folder = repository / package.manifest.name
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with exclusive(repository):
            _sweep(repository)
            manifest = pb.ModelManifest()
            manifest.CopyFrom(package.manifest)
            manifest.version = _next_version(model_folder)
            staging = repository / f"{_STAGING}{manifest.name}-{manifest.version}"
            target = model_folder / str(manifest.version)
            try:
                write_folder(staging, {**package.files, MANIFEST_FILE: manifest_json(manifest)})
                model_folder.mkdir(exist_ok=True)
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            sync_folder(model_folder)
    except OSError as err:
        raise PackageError(
            f"cannot write to the repository {repository}: {err.strerror} ({err.filename}). "
            "Nothing was changed; check the path, permissions and free space."
        ) from err
    return target


def _output(name: str, length: int, blob: str) -> pb.TensorSpec:
    return pb.TensorSpec(name=name, data_type=pb.DATA_TYPE_FLOAT32, shape=[length], caffe_blob=blob)


def _sweep(repository: Path) -> None:
    """Remove what killed builds left behind; call it under the lock."""
    for stale in repository.glob(f"{_STAGING}*"):
        shutil.rmtree(stale, ignore_errors=True)


def _next_version(model_folder: Path) -> int:
    """Return one more than the highest version there is, whatever became of the others."""
    taken = [int(path.name) for path in model_folder.glob("*") if path.name.isdecimal()]
    return max(taken, default=0) + 1
