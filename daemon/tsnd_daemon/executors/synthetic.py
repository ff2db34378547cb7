"""Answers from the pixels without a model: for tests, and to measure the daemon alone."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from tsnd_daemon.executors.tensors import fill, input_buffer
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Pixels, Snippet


class SyntheticExecutor:
    """Returns, in every output, the snippet's first pixels as numbers, after a pause.

    It has input buffers and fills them, as those that compute do.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_batch_size: int = 8,
        execution_s: float = 0.0,
        slots: int = 1,
    ) -> None:
        """Prepare for a model.

        Args:
            model: Whose outputs it imitates.
            max_batch_size: Most snippets in a batch.
            execution_s: How long each execution takes, whatever its size.
            slots: Batches that it holds at a time.
        """
        self.slots = slots
        self._lengths = {output.name: output.shape[0] for output in model.manifest.outputs}
        self._pause = threading.Event()
        self._execution_s = execution_s
        self._buffers = [input_buffer(model, max_batch_size) for _ in range(slots)]
        self._batches = [buffer[:0] for buffer in self._buffers]

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch in; see Executor."""
        self._batches[slot] = fill(self._buffers[slot], snippets)

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Run the batch; value i of an output is the snippet's byte i (modulo its size)."""
        batch = self._batches[slot]
        if self._execution_s:
            self._pause.wait(self._execution_s)
        return {
            name: _first_bytes(batch, length).astype(np.float32)
            for name, length in self._lengths.items()
        }

    def close(self) -> None:
        """Hold nothing."""


def _first_bytes(batch: Pixels, length: int) -> Pixels:
    """Return so many values from the beginning of each row, over and over where there are fewer."""
    values = batch.reshape(len(batch), -1)
    if length <= values.shape[1]:
        return values[:, :length]
    return values.take(np.arange(length) % values.shape[1], axis=1)
