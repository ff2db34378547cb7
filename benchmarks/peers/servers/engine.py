"""What every peer runs: one ONNX file in ONNX Runtime, from raw pixels to raw results.

Only this file knows the model, so that peers differ in their serving alone. It is imported by
the Python of each peer's own environment and needs NumPy and ONNX Runtime.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

VARIABLE = "TSND_PEER"
"""Environment variable with the settings: worker processes inherit it however they start."""
INPUT = "snippets"
OUTPUTS = ("scores", "features")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a peer serves.

    Attributes:
        model: The ONNX file.
        shape: Of one snippet, uint8.
        port: Where to listen on 127.0.0.1.
        max_batch_size: Most snippets in an execution.
        max_delay_ms: Longest wait for a fuller batch.
        workers: Processes that run the model.
        threads: Of ONNX Runtime in each.
    """

    model: str
    shape: tuple[int, ...]
    port: int
    max_batch_size: int
    max_delay_ms: float
    workers: int
    threads: int


def settings() -> Settings:
    """Read the settings that this process was started with."""
    fields = json.loads(os.environ[VARIABLE])
    return Settings(**{**fields, "shape": tuple(fields["shape"])})


class Engine:
    """A session, and bytes in and out of it."""

    def __init__(self, found: Settings) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = found.threads
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            found.model, options, providers=["CPUExecutionProvider"]
        )
        self._shape = found.shape

    def score(self, frames: Sequence[bytes]) -> list[bytes]:
        """Run one batch; each snippet's result is its outputs, float32, one after the other."""
        pixels = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), *self._shape)
        outputs = self.run(pixels)
        return [b"".join(output[row].tobytes() for output in outputs) for row in range(len(frames))]

    def run(self, pixels: "np.ndarray") -> "list[np.ndarray]":
        """Run one batch of pixels, uint8 [N, *shape]; returns the outputs."""
        outputs: list[np.ndarray] = self._session.run(OUTPUTS, {INPUT: pixels})
        return outputs

    def lengths(self) -> dict[str, int]:
        """Return how many values each output has for a snippet."""
        return {output.name: output.shape[1] for output in self._session.get_outputs()}
