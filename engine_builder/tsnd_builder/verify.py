"""Verifies a model package: what it serves against what it should, in independent steps.

1. The serving graph, on frames, against TSN's preprocessing in NumPy, the network alone,
   and the mean over crops in NumPy.
2. A batch against its snippets alone, for streams share batches and must not meet in them.
3. The network alone against reference outputs, such as those of the original Caffe.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx.utils import Extractor

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import OutOfTolerance, PackageError, SelectionError
from tsnd_builder.natural_images import natural_images
from tsnd_builder.package import ONNX_FILE, read_manifest
from tsnd_builder.parity import Agreement, compare
from tsnd_builder.serving_graph import CROPS, FEATURES, INPUT, NETWORK, SCORES

REPORT_FILE = "parity.json"
TOLERANCE = 2e-4
"""Of the largest value: float32 noise of Inception V3, twice that of BN-Inception."""

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison.

    Attributes:
        artifact: The file that was run.
        against: What it was compared with.
        inputs: What both were fed.
        output: The output or Caffe blob compared.
        agreement: How far they are apart.
    """

    artifact: str
    against: str
    inputs: str
    output: str
    agreement: Agreement

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the largest error is small enough; false when it is no number."""
        return self.agreement.max_error <= TOLERANCE


def verify_package(folder: Path, reference: Path | None = None) -> str:
    """Verify a package, write parity.json into it, and describe the result.

    Args:
        folder: REPOSITORY/NAME/VERSION.
        reference: An .npz of inputs and outputs of the network: `in/BLOB` float32, or
            `in_u8/BLOB` uint8 with `mean/BLOB` per channel; `out/BLOB`.

    Returns:
        A table.

    Raises:
        OutOfTolerance: When a comparison fails; its message has the table.
        BuilderError: When the package or the reference cannot be read.
    """
    manifest = read_manifest(folder)
    model = _load(folder / ONNX_FILE)
    serving = _session(model)
    findings = [
        *_against_numpy(serving, model, manifest),
        *_against_single_snippets(serving, manifest),
    ]
    if reference is not None:
        findings += _against_reference(model, reference)
    _write_report(folder / REPORT_FILE, findings)
    table = "\n".join(_table(findings))
    if not all(finding.is_within_tolerance for finding in findings):
        raise OutOfTolerance(f"{folder} differs by more than {TOLERANCE:g}:\n{table}")
    return f"{table}\n{folder} is within {TOLERANCE:g} of the largest value; see {REPORT_FILE}"


def crop_frames(frames: Frames, manifest: pb.ModelManifest) -> Floats:
    """Prepare frames as TSN does, in NumPy: the reference for the serving graph.

    Args:
        frames: uint8 [N, *input shape].
        manifest: The package's manifest.

    Returns:
        float32 [N * crops, C, crop, crop], a snippet's crops together.
    """
    pre, is_flow = manifest.preprocessing, manifest.modality == pb.MODALITY_FLOW
    planes = frames if is_flow else frames.transpose(0, 3, 1, 2)
    size = pre.crop_size
    below, beside = planes.shape[2] - size, planes.shape[3] - size
    corners = [(0, 0), (0, beside), (below, 0), (below, beside)]
    offsets = [*(corners if pre.crops_per_snippet == 10 else []), (below // 2, beside // 2)]
    crops = [planes[:, :, y : y + size, x : x + size] for y, x in offsets]
    if pre.crops_per_snippet == 10:
        mirrored = [crop[:, :, :, ::-1].copy() for crop in crops]
        for crop in mirrored if is_flow else []:
            crop[:, 0::2] = 255 - crop[:, 0::2]
        crops += mirrored
    mean = np.asarray(pre.mean, np.float32).reshape(1, 1, -1, 1, 1)
    stacked = np.stack(crops, axis=1).astype(np.float32) - mean
    return stacked.reshape(-1, *stacked.shape[2:])


def probe_frames(manifest: pb.ModelManifest) -> Iterator[tuple[str, Frames]]:
    """Yield names and frames to verify with: fixed extremes, noise, and natural images."""
    shape = tuple(manifest.input.shape)
    rng = np.random.default_rng(0)
    extremes = [np.zeros(shape), np.full(shape, 255), rng.integers(0, 256, shape)]
    yield "fixed", np.stack(extremes).astype(np.uint8)
    is_flow = manifest.modality == pb.MODALITY_FLOW
    planes = shape if is_flow else (shape[2], *shape[:2])
    deviation, middle = (12.0, 128.0) if is_flow else (55.0, 118.0)
    images = natural_images(rng, (3, *planes), deviation) + np.float32(middle)
    frames = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    yield "natural", np.ascontiguousarray(frames if is_flow else frames.transpose(0, 2, 3, 1))


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except Exception as err:
        raise PackageError(
            f"{path} is not an ONNX file: {str(err)[:200]}. Build it again."
        ) from err


def _against_numpy(
    serving: onnxruntime.InferenceSession, model: onnx.ModelProto, manifest: pb.ModelManifest
) -> Iterator[Finding]:
    blobs = {o.name: o.caffe_blob for o in manifest.outputs if o.name in (SCORES, FEATURES)}
    network = _session(_network(model, list(blobs.values())))
    crops = manifest.preprocessing.crops_per_snippet
    for inputs, frames in probe_frames(manifest):
        served = _run(serving, {INPUT: frames}, list(blobs))
        alone = _run(network, {CROPS: crop_frames(frames, manifest)}, _prefixed(blobs.values()))
        for output, result, by_crop in zip(blobs, served, alone, strict=True):
            expected = by_crop.reshape(len(frames), crops, -1).mean(axis=1)
            against = "NumPy preprocessing, network alone"
            yield Finding(ONNX_FILE, against, inputs, output, compare(result, expected))


def _against_single_snippets(
    serving: onnxruntime.InferenceSession, manifest: pb.ModelManifest
) -> Iterator[Finding]:
    outputs = [output.name for output in manifest.outputs]
    for inputs, frames in probe_frames(manifest):
        together = _run(serving, {INPUT: frames}, outputs)
        alone = [_run(serving, {INPUT: frame[np.newaxis]}, outputs) for frame in frames]
        for index, output in enumerate(outputs):
            expected = np.concatenate([results[index] for results in alone])
            agreement = compare(together[index], expected)
            yield Finding(ONNX_FILE, "each snippet alone", inputs, output, agreement)


def _against_reference(model: onnx.ModelProto, reference: Path) -> Iterator[Finding]:
    inputs, outputs = _read_reference(reference)
    names = {name for node in model.graph.node for name in node.output}
    wanted = [blob for blob in outputs if f"{NETWORK}{blob}" in names]
    if not wanted:
        raise SelectionError(
            f"{reference} has outputs {', '.join(outputs) or '(none)'}; the package's network has "
            "none of these blobs. Is it the reference of another network?"
        )
    results = _run(_session(_network(model, wanted)), {CROPS: inputs}, _prefixed(wanted))
    for blob, result in zip(wanted, results, strict=True):
        if result.shape != outputs[blob].shape:
            raise SelectionError(
                f"{reference}: {blob!r} has shape {list(outputs[blob].shape)}, the network gives "
                f"{list(result.shape)}. Is it the reference of another network?"
            )
        agreement = compare(result, outputs[blob])
        yield Finding(ONNX_FILE, reference.name, "its inputs", blob, agreement)


def _read_reference(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """Read the network's only input, ready to feed, and the outputs by blob."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as err:
        raise SelectionError(f"{path} is not an .npz file of arrays: {str(err)[:200]}.") from err
    outputs = {k.removeprefix("out/"): v for k, v in arrays.items() if k.startswith("out/")}
    for name, array in arrays.items():
        kind, _, blob = name.partition("/")
        if kind == "in":
            return array.astype(np.float32), outputs
        if kind == "in_u8":
            mean = arrays.get(f"mean/{blob}", np.zeros(1)).reshape(1, -1, 1, 1)
            return array.astype(np.float32) - mean.astype(np.float32), outputs
    raise SelectionError(f"{path} has no input: give in/BLOB, or in_u8/BLOB and mean/BLOB.")


def _network(model: onnx.ModelProto, blobs: Sequence[str]) -> onnx.ModelProto:
    """Cut the network out of a serving graph, from crops to some blobs."""
    return Extractor(model).extract_model([CROPS], _prefixed(blobs))


def _prefixed(blobs: Iterable[str]) -> list[str]:
    return [f"{NETWORK}{blob}" for blob in blobs]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(
    session: onnxruntime.InferenceSession,
    inputs: dict[str, npt.NDArray[np.generic]],
    outputs: list[str],
) -> list[Floats]:
    try:
        results: list[Floats] = session.run(outputs, inputs)
    except Exception as err:
        raise SelectionError(f"the network does not take these inputs: {str(err)[:300]}") from err
    return results


def _write_report(path: Path, findings: Sequence[Finding]) -> None:
    rows = [{**asdict(f), "is_within_tolerance": f.is_within_tolerance} for f in findings]
    report = {
        "tolerance": TOLERANCE,
        "tools": {name: version(name) for name in ("tsnd", "onnxruntime", "numpy")},
        "findings": rows,
    }
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            staging.write_text(json.dumps(report, indent=2) + "\n")
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as err:
        raise PackageError(f"cannot write {path}: {err.strerror}.") from err


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    columns = f"{'max error':>10}{'mean':>10}{'cosine':>10}{'top-1':>7}{'top-5':>7}"
    yield f"{'output':<24}{'inputs':<12}{columns}"
    against = ""
    for finding in findings:
        if finding.against != against:
            against = finding.against
            yield f"{finding.artifact} against {against}"
        a, mark = finding.agreement, "" if finding.is_within_tolerance else "  OUT OF TOLERANCE"
        yield (
            f"  {finding.output:<22}{finding.inputs:<12}{a.max_error:>10.1e}{a.mean_error:>10.1e}"
            f"{a.cosine:>10.6f}{a.top1:>7.0%}{a.top5:>7.0%}{mark}"
        )
