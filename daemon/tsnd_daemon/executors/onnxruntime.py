"""Runs serving graphs with ONNX Runtime on the CPU: the executor that is always there."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.tensors import check_tensors
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Snippet

_FATAL_ONLY = 4


class OnnxRuntimeExecutor:
    """One session and one input buffer for the largest batch."""

    def __init__(self, model: Model, *, max_batch_size: int, threads: int) -> None:
        """Load a model.

        Args:
            model: The package.
            max_batch_size: Most snippets in one call of execute.
            threads: CPU threads; 0 takes all cores.

        Raises:
            PackageError: When the graph cannot be loaded, or is not what the manifest says.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _FATAL_ONLY  # what it says comes as an exception too
        # Spinning threads would take the cores from the event loop between batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model.onnx_path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:
            raise PackageError(
                f"ONNX Runtime cannot load {model.onnx_path}: {err}. Build the package again."
            ) from err
        self._outputs = [output.name for output in model.manifest.outputs]
        self._input = model.manifest.input.name
        check_tensors(
            model,
            inputs={i.name: list(i.shape[1:]) for i in self._session.get_inputs()},
            outputs={o.name: list(o.shape[1:]) for o in self._session.get_outputs()},
        )
        shape = (max_batch_size, *model.manifest.input.shape)
        self._buffer = np.zeros(shape, np.uint8)

    def execute(self, snippets: Sequence[Snippet]) -> Mapping[str, FloatArray]:
        """Run a batch; see Executor."""
        batch = self._buffer[: len(snippets)]
        for row, snippet in zip(batch, snippets, strict=True):
            np.copyto(row, snippet.pixels)
        results = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """Free the session."""
        del self._session
