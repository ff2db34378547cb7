"""Answers from the pixels without a model: for tests, and to measure the daemon alone."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Pixels, Snippet


class SyntheticExecutor:
    """Returns, in every output, the snippet's first pixels as numbers, after a pause."""

    def __init__(self, model: Model, *, execution_s: float = 0.0, slots: int = 1) -> None:
        """Prepare for a model.

        Args:
            model: Whose outputs it imitates.
            execution_s: How long each execution takes, whatever its size.
            slots: Batches that it holds at a time.
        """
        self.slots = slots
        self._lengths = {output.name: output.shape[0] for output in model.manifest.outputs}
        self._pause = threading.Event()
        self._execution_s = execution_s
        self._batches: list[Sequence[Snippet]] = [()] * slots

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Keep a batch; see Executor."""
        self._batches[slot] = snippets

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Run the batch; value i of an output is the snippet's byte i (modulo its size)."""
        snippets, self._batches[slot] = self._batches[slot], ()
        if self._execution_s:
            self._pause.wait(self._execution_s)
        outputs = {
            name: np.empty((len(snippets), length), np.float32)
            for name, length in self._lengths.items()
        }
        for rows in outputs.values():
            for row, snippet in zip(rows, snippets, strict=True):
                row[:] = _first_bytes(snippet.pixels, len(row))
        return outputs

    def close(self) -> None:
        """Hold nothing."""


def _first_bytes(pixels: Pixels, length: int) -> Pixels:
    """Return so many values from the beginning, over and over where there are fewer."""
    values = pixels.reshape(-1)
    # np.resize alone would copy the whole frame.
    return values[:length] if length <= values.size else np.resize(values, length)
