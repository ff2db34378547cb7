"""What each command of `tsn-build` does, from paths to files and a line to print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact, Precision
from tsnd_builder.assemble import load_graph
from tsnd_builder.calibration.frames import calibration_frames
from tsnd_builder.engines import make_plan, read_source
from tsnd_builder.errors import SelectionError
from tsnd_builder.export import export_onnx
from tsnd_builder.graphs import load_serving_model
from tsnd_builder.heads import read_heads
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.lowering import (
    INT8_MAX_DROP,
    Calibration,
    Report,
    make_half,
    make_int8,
)
from tsnd_builder.manifest import modality_of, read_manifest
from tsnd_builder.package import (
    add_to_package,
    check_name,
    extended,
    make_package,
    read_labels,
    write_package,
)
from tsnd_builder.plans.options import PlanOptions
from tsnd_builder.plans.progress import Listener
from tsnd_builder.precision.int8 import Int8Options
from tsnd_builder.serving_graph import (
    Modality,
    build_serving_model,
    classes,
    feature_length,
    find_heads,
    serving_spec,
)
from tsnd_builder.storage import replace_file
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


@dataclass(frozen=True, slots=True)
class Lower:
    """Which lower precisions a package gets, and how.

    Attributes:
        precisions: Besides FP32, which it always has.
        calibration: Video or folder whose snippets INT8 is calibrated with.
        snippets: Most of them that are used.
        int8: How to quantize.
        max_drop: Largest share of clear snippets that may lose their first class.
    """

    precisions: frozenset[Precision] = frozenset()
    calibration: Path | None = None
    snippets: int = 256
    int8: Int8Options = field(default_factory=Int8Options)
    max_drop: float = INT8_MAX_DROP

    def __post_init__(self) -> None:
        """Refuse INT8 without videos, which would be a guess."""
        if Precision.INT8 in self.precisions and self.calibration is None:
            raise SelectionError(
                "INT8 needs --calibration VIDEO_OR_FOLDER: videos like those it will score."
            )


def convert(files: CaffeFiles, output: Path, *, outputs: Sequence[str], keep_bn: bool) -> str:
    """Convert a Caffe model to ONNX and write it to `output`.

    Raises:
        BuilderError: When it cannot be read, converted or written; nothing is written then.
    """
    graph = load_graph(files.prototxt, files.weights, bn_storage=files.bn_storage)
    model = export_onnx(graph, outputs=outputs, keep_bn=keep_bn)
    replace_file(output, model.SerializeToString())
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
    lower: Lower | None = None,
    report: Report = print,
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
    model = build_serving_model(graph, spec, blobs, linear_heads)
    package = make_package(
        name=name,
        graph=graph,
        spec=spec,
        heads=blobs,
        model=model,
        labels=read_labels(labels, count=classes(graph, blobs)),
        sources=(*files.existing(), labels, *(head.source for head in linear_heads)),
        linear_heads=linear_heads,
    )
    if lower is not None:
        package = extended(package, _lowered(model, package.manifest, lower, report))
    folder = write_package(package, repository)
    return (
        f"{folder}: {modality}, {crops} crop(s) of {spec.crop_size} from {spec.frame_height} x "
        f"{spec.frame_width}, {len(package.manifest.labels)} classes"
    )


def add(folder: Path, lower: Lower, *, report: Report = print) -> str:
    """Add lower precisions to a package.

    Raises:
        BuilderError: When it cannot be read or written, or loses too much; it is unchanged
            then.
    """
    if not lower.precisions:
        raise SelectionError("a package always has fp32; ask for fp16, int8 or both.")
    model, _ = load_serving_model(folder)
    new = _lowered(model, read_manifest(folder), lower, report)
    add_to_package(folder, new)
    return "\n".join(f"{folder / artifact.entry().file}" for artifact in new)


def _lowered(
    model: onnx.ModelProto, manifest: pb.ModelManifest, lower: Lower, report: Report
) -> list[NewArtifact]:
    """Make the graphs in lower precisions."""
    made: list[NewArtifact] = []
    if Precision.FP16 in lower.precisions:
        made.append(make_half(model, modality_of(manifest)))
    if Precision.INT8 in lower.precisions and lower.calibration is not None:
        pre = manifest.preprocessing
        frames = calibration_frames(
            lower.calibration,
            modality=modality_of(manifest),
            frame_height=pre.frame_height,
            frame_width=pre.frame_width,
            stack_depth=pre.stack_depth,
            snippets=2 * lower.snippets,
            report=report,
        )
        calibration = Calibration(frames.frames, frames.videos.used, lower.int8, lower.max_drop)
        made.extend(make_int8(model, calibration, report))
    return made


def plan(
    folder: Path,
    precisions: Sequence[Precision],
    options: PlanOptions,
    *,
    report: Report = print,
    progress: Listener | None = None,
) -> str:
    """Build plans of a package's graphs and add them to it.

    Raises:
        BuilderError: When one cannot be built or written; the package is unchanged then.
        KeyboardInterrupt: After Ctrl-C; the package is unchanged then.
    """
    for precision in precisions:  # a build may take long, so first see whether all can be
        read_source(folder, precision)
    new = [
        make_plan(folder, precision, options, report=report, progress=progress)
        for precision in precisions
    ]
    add_to_package(folder, new)
    return "\n".join(_plan_line(folder, artifact) for artifact in new)


def _plan_line(folder: Path, artifact: NewArtifact) -> str:
    built = artifact.description.plan
    return (
        f"{folder / artifact.entry().file}: {len(artifact.data) / 1e6:.1f} MB by {built.backend} "
        f"{built.backend_version} in {built.build_seconds:.1f} s"
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
