"""Runs graphs with ONNX Runtime on the CPU, for calibration and verification."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

_FATAL_ONLY = 4


def open_session(
    model: onnx.ModelProto, *, exact_int8: bool = False
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        model: The graph.
        exact_int8: Compute what Q/DQ nodes say in float, as TensorRT's INT8 does up to
            rounding, instead of with the CPU's INT8 instructions, whose sums saturate on
            processors without VNNI.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if exact_int8:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_batches(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], frames: Frames, size: int = 8
) -> list[Floats]:
    """Run frames in batches through a graph with one input.

    Returns:
        For each output, its rows for all frames.
    """
    (source,) = session.get_inputs()
    parts = [session.run(list(outputs), {source.name: batch}) for batch in batches(frames, size)]
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


def batches(frames: Frames, size: int) -> Iterator[Frames]:
    """Cut frames into batches of at most `size`."""
    return (frames[start : start + size] for start in range(0, len(frames), size))


def with_outputs(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of a graph that returns these values and nothing else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in values)
    return copy
