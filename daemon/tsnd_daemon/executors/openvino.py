"""Runs serving graphs with OpenVINO on the CPU: the fastest there is for INT8."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tsnd_daemon.errors import PackageError, SettingsError
from tsnd_daemon.executors.tensors import check_tensors
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Snippet


class OpenVinoExecutor:
    """One compiled model with a few streams, among which a batch is divided.

    A stream keeps its cores to itself, so two halves of a batch side by side finish before
    the whole batch on all cores would.
    """

    def __init__(self, model: Model, *, max_batch_size: int, threads: int) -> None:
        """Load a model.

        Args:
            model: The package.
            max_batch_size: Most snippets in one call of execute.
            threads: CPU threads; 0 takes all cores.

        Raises:
            SettingsError: When OpenVINO is not installed.
            PackageError: When the graph cannot be loaded.
        """
        try:
            import openvino  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as err:
            raise SettingsError(
                "--executor openvino needs OpenVINO: pip install 'tsnd[openvino]', or take "
                "--executor onnxruntime."
            ) from err
        # Of its own it would round FP32 to BF16 where the processor has it.
        settings: dict[str, object] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = openvino.Core().compile_model(str(model.onnx_path), "CPU", settings)
        except RuntimeError as err:
            raise PackageError(
                f"OpenVINO cannot load {model.onnx_path}: {err}. Build the package again."
            ) from err
        check_tensors(model, _shapes(compiled.inputs), _shapes(compiled.outputs))
        self._outputs = [output.name for output in model.manifest.outputs]
        streams = min(max_batch_size, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self._buffer = np.zeros((max_batch_size, *model.manifest.input.shape), np.uint8)

    def execute(self, snippets: Sequence[Snippet]) -> Mapping[str, FloatArray]:
        """Run a batch; see Executor."""
        batch = self._buffer[: len(snippets)]
        for row, snippet in zip(batch, snippets, strict=True):
            np.copyto(row, snippet.pixels)
        parts = np.array_split(batch, min(len(self._requests), len(batch)))
        running = self._requests[: len(parts)]
        for request, part in zip(running, parts, strict=True):
            request.start_async([part], share_inputs=True)
        for request in running:
            request.wait()
        return {
            name: np.concatenate([request.get_tensor(name).data for request in running])
            for name in self._outputs
        }

    def close(self) -> None:
        """Free the model."""
        self._requests.clear()


def _shapes(ports: Sequence[Any]) -> dict[str, list[int]]:
    """Return the shape of one row of each input or output."""
    return {
        port.get_any_name(): [dim.get_length() for dim in list(port.get_partial_shape())[1:]]
        for port in ports
    }
