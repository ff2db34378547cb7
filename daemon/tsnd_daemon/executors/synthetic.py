"""Answers from the pixels without a model: for tests, and to measure the daemon alone."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Snippet


class SyntheticExecutor:
    """Returns, in every output, the snippet's first pixels as numbers, after a pause."""

    def __init__(self, model: Model, *, execution_s: float = 0.0) -> None:
        """Prepare for a model.

        Args:
            model: Whose outputs it imitates.
            execution_s: How long each execution takes, whatever its size.
        """
        self._lengths = {output.name: output.shape[0] for output in model.manifest.outputs}
        self._pause = threading.Event()
        self._execution_s = execution_s

    def execute(self, snippets: Sequence[Snippet]) -> Mapping[str, FloatArray]:
        """Run a batch; value i of an output is the snippet's byte i (modulo its size)."""
        if self._execution_s:
            self._pause.wait(self._execution_s)
        return {
            name: np.stack([np.resize(s.pixels, length) for s in snippets]).astype(np.float32)
            for name, length in self._lengths.items()
        }

    def close(self) -> None:
        """Hold nothing."""
