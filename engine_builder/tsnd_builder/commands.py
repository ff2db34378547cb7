"""What each command of `tsn-build` does, from paths to files and a line to print."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import PackageError
from tsnd_builder.export import export_onnx
from tsnd_builder.heads import read_heads
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.package import check_name, make_package, read_labels, write_package
from tsnd_builder.serving_graph import (
    Modality,
    build_serving_model,
    classes,
    feature_length,
    find_heads,
    serving_spec,
)
from tsnd_builder.synth import synthesize, write_caffe_model


@dataclass(frozen=True, slots=True)
class CaffeFiles:
    """Where a Caffe model lies and how its BN layers store their statistics."""

    prototxt: Path
    weights: Path | None
    bn_storage: BNStorage

    def existing(self) -> tuple[Path, ...]:
        """Return the files that there are."""
        return (self.prototxt,) if self.weights is None else (self.prototxt, self.weights)


def convert(files: CaffeFiles, output: Path, *, outputs: Sequence[str], keep_bn: bool) -> str:
    """Convert a Caffe model to ONNX and write it to `output`.

    Raises:
        BuilderError: When it cannot be read, converted or written; nothing is written then.
    """
    graph = load_graph(files.prototxt, files.weights, bn_storage=files.bn_storage)
    model = export_onnx(graph, outputs=outputs, keep_bn=keep_bn)
    _write(output, model)
    returned = ", ".join(value.name for value in model.graph.output)
    return f"{output}: {len(model.graph.node)} nodes, outputs {returned}"


def build(
    files: CaffeFiles,
    *,
    labels: Path,
    name: str,
    modality: Modality,
    crops: int,
    frame_size: tuple[int, int] | None,
    repository: Path,
    heads: Mapping[str, Path] | None = None,
) -> str:
    """Build a model package out of a Caffe model.

    Raises:
        BuilderError: When something does not fit; the repository is unchanged then.
    """
    check_name(name)
    graph = load_graph(files.prototxt, files.weights, bn_storage=files.bn_storage)
    blobs = find_heads(graph)
    linear_heads = read_heads(heads or {}, feature_length=feature_length(graph, blobs))
    spec = serving_spec(graph, modality, crops_per_snippet=crops, frame_size=frame_size)
    package = make_package(
        name=name,
        graph=graph,
        spec=spec,
        heads=blobs,
        model=build_serving_model(graph, spec, blobs, linear_heads),
        labels=read_labels(labels, count=classes(graph, blobs)),
        sources=(*files.existing(), labels, *(head.source for head in linear_heads)),
        linear_heads=linear_heads,
    )
    folder = write_package(package, repository)
    return (
        f"{folder}: {modality}, {crops} crop(s) of {spec.crop_size} from {spec.frame_height} x "
        f"{spec.frame_width}, {len(package.manifest.labels)} classes"
    )


def synth(network: str, folder: Path, *, modality: Modality, classes: int, seed: int) -> str:
    """Write a Caffe model with random weights into a folder.

    Raises:
        BuilderError: When it cannot be written.
    """
    model = synthesize(network, modality, classes=classes, seed=seed)
    write_caffe_model(model, folder, classes=classes)
    return (
        f"{folder}: deploy.prototxt, weights.caffemodel, labels.txt (random weights, seed {seed})"
    )


def _write(path: Path, model: onnx.ModelProto) -> None:
    """Write a model so that the file is whole or not there."""
    staging = path.parent / f".{path.name}.{os.getpid()}"
    try:
        try:
            staging.write_bytes(model.SerializeToString())
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as err:
        raise PackageError(f"cannot write {path}: {err.strerror}.") from err
