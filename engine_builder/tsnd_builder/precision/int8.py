"""Quantizes a serving graph to INT8 with explicit Q/DQ nodes, by one of two recipes.

The convolutions compute in INT8, their weights scaled per output channel. What comes
behind the last of them stays in float: it costs next to nothing, and scores that move in
256 steps would tie.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from tsnd_builder.errors import PackageError, SelectionError
from tsnd_builder.export import check_model
from tsnd_builder.inference import Frames, batches
from tsnd_builder.precision.bias_correction import correct_biases

_BATCH = 4


class Recipe(StrEnum):
    """What kind of processor a quantized graph is for.

    CPU: unsigned, asymmetric activations and whatever may compute in INT8 does, as
    ONNX Runtime and OpenVINO run fastest with VNNI or AMX. TENSORRT: signed and symmetric
    throughout and biases in float, the only form its parser takes.
    """

    CPU = "cpu"
    TENSORRT = "tensorrt"


class Calibrator(StrEnum):
    """How the range of a value follows from what it was on the calibration frames.

    MINMAX takes all of it, PERCENTILE all but the outermost 0.001 %, ENTROPY what keeps
    most information (Migacz, 8-bit Inference with TensorRT, GTC 2017).
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"


@dataclass(frozen=True, slots=True)
class Int8Options:
    """How to quantize.

    Attributes:
        calibrator: How ranges are chosen.
        float_layers: How many of the first convolutions stay in float.
        reduce_range: Whether weights have 7 bits for CPUs, so that sums cannot saturate on
            those without VNNI; TensorRT's have 8 all the same.
    """

    calibrator: Calibrator = Calibrator.PERCENTILE
    float_layers: int = 0
    reduce_range: bool = False


_METHODS = {
    Calibrator.MINMAX: CalibrationMethod.MinMax,
    Calibrator.PERCENTILE: CalibrationMethod.Percentile,
    Calibrator.ENTROPY: CalibrationMethod.Entropy,
}
_ACTIVATIONS = {Recipe.CPU: QuantType.QUInt8, Recipe.TENSORRT: QuantType.QInt8}
_OPERATORS = {
    Recipe.CPU: ["Conv", "Relu", "MaxPool", "AveragePool", "Concat"],
    Recipe.TENSORRT: ["Conv"],
}
_EXTRA_OPTIONS: Mapping[Recipe, Mapping[str, Any]] = {
    Recipe.CPU: {},
    Recipe.TENSORRT: {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        # Between a convolution and its ReLU, Q/DQ would keep TensorRT from fusing them.
        "OpTypesToExcludeOutputQuantization": ["Conv"],
    },
}


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands out frames batch by batch, of which the calibrators take ranges at a time."""

    def __init__(self, source: str, frames: Frames) -> None:
        self._feeds = [{source: batch} for batch in batches(frames, _BATCH)]
        self.set_range(0, len(self._feeds))

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._feeds[start_index:end_index])

    def get_next(self) -> dict[str, Frames] | None:
        return next(self._left, None)


def quantize(
    model: onnx.ModelProto, frames: Frames, options: Int8Options
) -> dict[Recipe, onnx.ModelProto]:
    """Quantize a serving graph by both recipes, from one calibration.

    Args:
        model: The graph in FP32.
        frames: Snippets to calibrate with, uint8 [N, *snippet shape].
        options: How.

    Returns:
        For each recipe a checked graph with the inputs and outputs of the given one, types
        included.

    Raises:
        SelectionError: When no convolution is left to quantize.
        PackageError: When there is no room for temporary files.
    """
    float_nodes = _float_nodes(model, options.float_layers)
    source = onnx.ModelProto()
    source.CopyFrom(model)
    add_pre_process_metadata(source)  # it has been folded and its shapes are known
    quantized = {}
    with _temporary_folder() as folder, contextlib.redirect_stdout(io.StringIO()):
        unquantized = folder / "source.onnx"  # a model in memory it would change
        onnx.save(source, unquantized)
        for recipe in Recipe:
            path = folder / f"{recipe}.onnx"
            quantize_static(
                unquantized,
                path,
                _Batches(model.graph.input[0].name, frames),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=options.reduce_range and recipe is Recipe.CPU,
                nodes_to_exclude=float_nodes,
                calibrate_method=_METHODS[options.calibrator],
                # The CPU's recipe comes first and needs the ranges of all that others need.
                calibration_cache_path=folder / "ranges.json",
                activation_type=_ACTIVATIONS[recipe],
                op_types_to_quantize=_OPERATORS[recipe],
                extra_options={**_EXTRA_OPTIONS[recipe], "CalibStridedMinMax": 1},
            )
            quantized[recipe] = onnx.load(path)
    return {r: _corrected(model, q, frames) for r, q in quantized.items()}


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder for ONNX Runtime's files, which are a few times the size of the graph."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as err:
        raise PackageError(
            f"cannot write temporary files: {err.strerror}. Make room, or set TMPDIR to a folder "
            "that has some."
        ) from err


def _corrected(
    model: onnx.ModelProto, quantized: onnx.ModelProto, frames: Frames
) -> onnx.ModelProto:
    corrected = correct_biases(model, quantized, frames)
    del corrected.metadata_props[:]
    return check_model(corrected)


def _float_nodes(model: onnx.ModelProto, float_layers: int) -> list[str]:
    """Name what is not quantized: the preprocessing, first layers, and the tail."""
    nodes = list(model.graph.node)
    names = [node.name for node in nodes]
    layers = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
    if not layers:
        raise SelectionError(
            "the network has no convolutions, and INT8 quantizes nothing else. Use fp16."
        )
    if float_layers >= len(layers):
        raise SelectionError(
            f"the network has {len(layers)} convolutions, so keeping the first {float_layers} in "
            "float leaves none to quantize. Keep fewer."
        )
    return [*names[: layers[float_layers]], *names[_end(nodes, layers[-1]) :]]


def _end(nodes: Sequence[onnx.NodeProto], layer: int) -> int:
    """Return the place behind a layer and the ReLU that reads it, with which it is one."""
    readers = [i for i, node in enumerate(nodes) if nodes[layer].output[0] in node.input]
    is_relu = len(readers) == 1 and nodes[readers[0]].op_type == "Relu"
    return (readers[0] if is_relu else layer) + 1
