"""Loads the graphs of a package, and checks that they are what its manifest says."""

from pathlib import Path

import onnx

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PackageError
from tsnd_builder.manifest import MANIFEST_FILE, read_manifest, read_serving_model
from tsnd_builder.serving_graph import SCORES

_CROPS = (1, 10)


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
