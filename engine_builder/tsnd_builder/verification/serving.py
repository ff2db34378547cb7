"""The FP32 serving graph against its steps taken apart, and its network against references."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx.utils import Extractor

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PackageError, SelectionError
from tsnd_builder.inference import Floats, Frames, open_session
from tsnd_builder.manifest import modality_of
from tsnd_builder.parity import compare
from tsnd_builder.probes import extreme_frames, natural_frames, noise_frames
from tsnd_builder.serving_graph import CROPS, FEATURES, INPUT, NETWORK, SCORES
from tsnd_builder.shown import shown
from tsnd_builder.verification.findings import Finding
from tsnd_builder.verification.tolerances import FP32_TOLERANCE

_SEED = 0


def serving_findings(
    artifact: str, model: onnx.ModelProto, manifest: pb.ModelManifest
) -> Iterator[Finding]:
    """Compare an FP32 serving graph with its steps taken apart, and batches with snippets.

    Args:
        artifact: Name of its file.
        model: The graph.
        manifest: The package's manifest.
    """
    serving = open_session(model)
    yield from _against_numpy(artifact, serving, model, manifest)
    yield from _against_single_snippets(artifact, serving, manifest)


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


def _probes(manifest: pb.ModelManifest) -> Iterator[tuple[str, Frames]]:
    """Yield names and frames: fixed extremes and noise, and natural images."""
    shape, modality = tuple(manifest.input.shape), modality_of(manifest)
    extremes = extreme_frames(shape, modality)[:2]
    yield "fixed", np.concatenate([extremes, noise_frames(shape, 1, _SEED)])
    yield "natural", natural_frames(shape, modality, 3, _SEED)


def _against_numpy(
    artifact: str,
    serving: onnxruntime.InferenceSession,
    model: onnx.ModelProto,
    manifest: pb.ModelManifest,
) -> Iterator[Finding]:
    blobs = {o.name: o.caffe_blob for o in manifest.outputs if o.name in (SCORES, FEATURES)}
    network = open_session(_network(model, list(blobs.values())))
    crops = manifest.preprocessing.crops_per_snippet
    for inputs, frames in _probes(manifest):
        served = _run(serving, {INPUT: frames}, list(blobs))
        alone = _run(network, {CROPS: crop_frames(frames, manifest)}, _prefixed(blobs.values()))
        for output, result, by_crop in zip(blobs, served, alone, strict=True):
            expected = by_crop.reshape(len(frames), crops, -1).mean(axis=1)
            against = "NumPy preprocessing, network alone"
            agreement = compare(result, expected, margin=FP32_TOLERANCE)
            yield Finding(artifact, against, inputs, output, agreement, FP32_TOLERANCE)


def _against_single_snippets(
    artifact: str, serving: onnxruntime.InferenceSession, manifest: pb.ModelManifest
) -> Iterator[Finding]:
    outputs = [output.name for output in manifest.outputs]
    for inputs, frames in _probes(manifest):
        together = _run(serving, {INPUT: frames}, outputs)
        alone = [_run(serving, {INPUT: frame[np.newaxis]}, outputs) for frame in frames]
        for index, output in enumerate(outputs):
            expected = np.concatenate([results[index] for results in alone])
            agreement = compare(together[index], expected)
            yield Finding(artifact, "each snippet alone", inputs, output, agreement, FP32_TOLERANCE)


def reference_findings(artifact: str, model: onnx.ModelProto, reference: Path) -> Iterator[Finding]:
    """Compare the network in a serving graph with outputs computed elsewhere.

    Args:
        artifact: Name of its file.
        model: The serving graph in FP32.
        reference: An .npz of inputs and outputs of the network: `in/BLOB` float32, or
            `in_u8/BLOB` uint8 with `mean/BLOB` per channel; `out/BLOB`.

    Raises:
        SelectionError: When it does not fit the network.
    """
    inputs, outputs = _read_reference(reference)
    names = {name for node in model.graph.node for name in node.output}
    wanted = [blob for blob in outputs if f"{NETWORK}{blob}" in names]
    if not wanted:
        raise SelectionError(
            f"{reference} has outputs {', '.join(outputs) or '(none)'}; the package's network has "
            "none of these blobs. Is it the reference of another network?"
        )
    results = _run(open_session(_network(model, wanted)), {CROPS: inputs}, _prefixed(wanted))
    for blob, result in zip(wanted, results, strict=True):
        if result.shape != outputs[blob].shape:
            raise SelectionError(
                f"{reference}: {blob!r} has shape {list(outputs[blob].shape)}, the network gives "
                f"{list(result.shape)}. Is it the reference of another network?"
            )
        agreement = compare(result, outputs[blob])
        yield Finding(artifact, reference.name, "its inputs", blob, agreement, FP32_TOLERANCE)


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
    made = {value for node in model.graph.node for value in node.output}
    lacking = [name for name in (CROPS, *_prefixed(blobs)) if name not in made]
    if lacking:
        raise PackageError(
            f"the serving graph has no value {', '.join(map(shown, lacking))}, which its manifest "
            "or format demands. Build the package anew."
        )
    return Extractor(model).extract_model([CROPS], _prefixed(blobs))


def _prefixed(blobs: Iterable[str]) -> list[str]:
    return [f"{NETWORK}{blob}" for blob in blobs]


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
