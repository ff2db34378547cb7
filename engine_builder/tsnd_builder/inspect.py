"""Shows what a file or package holds, as a table for people."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.assemble import CONVERTIBLE, assemble, load_graph
from tsnd_builder.caffe.graph import Array, Graph, Shape
from tsnd_builder.caffe.prototxt import read_prototxt
from tsnd_builder.caffe.weights import Weights, read_weights
from tsnd_builder.errors import FileUnreadable
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.manifest import MANIFEST_FILE, precision_of, read_manifest
from tsnd_builder.shown import shown
from tsnd_builder.verification.findings import worst_errors

_SUFFIX_OF_TEXT = ".prototxt"


def inspect_path(path: Path, weights: Path | None = None) -> str:
    """Describe a model package, a prototxt (with its weights, if given) or a caffemodel.

    Args:
        path: A package folder, a model's folder (its newest version), or a file.
        weights: The caffemodel that belongs to a prototxt.

    Returns:
        Lines of text.

    Raises:
        BuilderError: When it is none of them, or not valid.
    """
    return "\n".join(map(shown, _lines(path, weights)))


def _lines(path: Path, weights: Path | None) -> Iterator[str]:
    if _is_folder(path):
        return _package_lines(_package_folder(path))
    if path.name == MANIFEST_FILE:
        return _package_lines(path.parent)
    if path.suffix == _SUFFIX_OF_TEXT:
        return _graph_lines(load_graph(path, weights) if weights else _graph_without_weights(path))
    return _weight_lines(read_weights(path))


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a folder that can be looked into."""
    try:
        return path.is_dir()
    except OSError:  # reading it as a file tells the reason
        return False


def _graph_without_weights(path: Path) -> Graph:
    """Build the graph of a prototxt whose weights are not at hand."""
    net = read_prototxt(path, convertible=CONVERTIBLE)
    return assemble(net, _zeros, source=path)


def _zeros(
    spec: LayerSpec, parameters: LayerParameter, bottoms: Sequence[Shape]
) -> tuple[Array, ...]:
    """Give a layer weights of the right shapes that take no memory."""
    zero = np.zeros((), np.float32)
    return tuple(np.broadcast_to(zero, s) for s in spec.blob_shapes(parameters, bottoms))


def _package_folder(path: Path) -> Path:
    """Return the folder itself if it has a manifest, else its newest version."""
    try:
        if (path / MANIFEST_FILE).exists():
            return path
        names = [entry.name for entry in path.iterdir()]
    except OSError as err:
        raise FileUnreadable(f"{path}: {err.strerror}. Check the path.") from err
    versions = sorted((name for name in names if name.isdecimal()), key=int)
    if not versions:
        raise FileUnreadable(
            f"{path} is not a model package: it has neither {MANIFEST_FILE} nor version folders. "
            "Name REPOSITORY/MODEL or REPOSITORY/MODEL/VERSION."
        )
    return path / versions[-1]


def _package_lines(folder: Path) -> Iterator[str]:
    manifest = read_manifest(folder)
    pre = manifest.preprocessing
    modality = pb.Modality.Name(manifest.modality).removeprefix("MODALITY_").lower()
    yield from _facts(
        ("model", f"{manifest.name}, version {manifest.version} ({manifest.network})"),
        ("modality", modality),
        ("snippets", f"uint8 {list(manifest.input.shape)}"),
        ("crops", f"{pre.crops_per_snippet} of {pre.crop_size} x {pre.crop_size}"),
        ("mean", ", ".join(f"{value:g}" for value in dict.fromkeys(pre.mean))),
        ("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels[:3])}, ..."),
        ("built", f"{manifest.built_at} with {_versions(manifest)}"),
    )
    yield ""
    outputs = [(o.name, f"float32 {list(o.shape)}", o.caffe_blob) for o in manifest.outputs]
    yield from _table(("output", "per snippet", "Caffe blob"), outputs)
    yield ""
    yield from _engine_lines(manifest, worst_errors(folder))
    yield ""
    files = [(a.file, f"{a.size_bytes:,}", a.sha256[:16]) for a in manifest.artifacts]
    files += [(f"from {source.file}", "", source.sha256[:16]) for source in manifest.sources]
    yield from _table(("file", "bytes", "sha256 (first 16)"), files)


def _engine_lines(manifest: pb.ModelManifest, errors: Mapping[str, float]) -> Iterator[str]:
    """Show what can be run side by side, with all that was kept in float or lost."""
    engines = [a for a in manifest.artifacts if precision_of(a)]
    rows = [
        (
            _precision(a),
            _backend(a),
            _place(a.plan),
            " ".join(f"{p.min}-{p.max}({p.opt})" for p in a.plan.profiles) or "any",
            f"{a.size_bytes / 1e6:.1f}",
            f"{errors[a.file]:.1e}" if a.file in errors else "not verified",
            a.built_at,
        )
        for a in engines
    ]
    yield from _table(("precision", "backend", "GPU", "batches", "MB", "max error", "built"), rows)
    for a in engines:
        if a.HasField("quantization"):
            yield _quantization_line(a)


def _precision(artifact: pb.Artifact) -> str:
    """Name the arithmetic, with how many nodes are kept in FP32."""
    name = pb.Precision.Name(precision_of(artifact)).removeprefix("PRECISION_").lower()
    kept = len(artifact.float_nodes)
    return f"{name}, {kept} nodes fp32" if kept else name


def _backend(artifact: pb.Artifact) -> str:
    if artifact.kind == pb.ARTIFACT_KIND_PLAN:
        return f"{artifact.plan.backend} {artifact.plan.backend_version}"
    return "onnx for TensorRT" if artifact.kind == pb.ARTIFACT_KIND_TENSORRT_ONNX else "onnx"


def _place(plan: pb.Plan) -> str:
    capability = f"cc {plan.compute_capability}" if plan.compute_capability else ""
    return ", ".join(part for part in (plan.gpu, capability) if part) or "any"


def _quantization_line(artifact: pb.Artifact) -> str:
    q, accuracy = artifact.quantization, artifact.quantization.accuracy
    return (
        f"{artifact.file}: {q.calibrator} on {q.calibration_snippets} snippets of "
        f"{len(q.videos)} video(s); first class as in fp32 on {accuracy.top1:.1%} of "
        f"{accuracy.snippets} others ({accuracy.clear_top1:.1%} where clear), "
        f"{accuracy.snr_db:.1f} dB"
    )


def _versions(manifest: pb.ModelManifest) -> str:
    return ", ".join(f"{tool} {v}" for tool, v in sorted(manifest.tool_versions.items()))


def _graph_lines(graph: Graph) -> Iterator[str]:
    inputs = ", ".join(f"{value.name} {_shape(value.shape)}" for value in graph.inputs)
    parameters = sum(blob.size for layer in graph.layers for blob in layer.blobs)
    yield from _facts(
        ("net", f"{graph.name or '(no name)'}: {len(graph.layers)} layers under TEST rules"),
        ("inputs", inputs),
        ("outputs", ", ".join(graph.outputs)),
        ("weights", f"{parameters:,} values"),
    )
    yield ""
    rows = [
        (layer.name, layer.type, ", ".join(_shape(top.shape) for top in layer.tops))
        for layer in graph.layers
    ]
    yield from _table(("layer", "type", "output"), rows)


def _weight_lines(weights: Weights) -> Iterator[str]:
    trained = {name: blobs for name, blobs in weights.blobs.items() if blobs}
    values = sum(blob.data.size for blobs in trained.values() for blob in blobs)
    yield from _facts(
        ("weights", str(weights.path)),
        ("layers", f"{len(weights.blobs)}, {len(trained)} with weights"),
        ("values", f"{values:,}"),
    )
    yield ""
    rows = [
        (
            name,
            " ".join(_shape(blob.shape) for blob in blobs),
            f"{sum(blob.data.size for blob in blobs):,}",
        )
        for name, blobs in trained.items()
    ]
    yield from _table(("layer", "blobs", "values"), rows)


def _shape(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _facts(*facts: tuple[str, str]) -> Iterator[str]:
    width = max(len(key) for key, _ in facts)
    for key, value in facts:
        yield f"{key:<{width}}  {value}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        yield "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
