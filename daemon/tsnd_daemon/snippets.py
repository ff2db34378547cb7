"""The frozen values that cross the daemon's rooms."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Snippet:
    """A validated snippet: pixels uint8 of the model's input shape, read only."""

    id: str
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What one batch gave: float32 rows by output name, and when it ran (monotonic)."""

    outputs: Mapping[str, FloatArray]
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What one snippet got.

    Attributes:
        outputs: float32 [length] by output name.
        queue_ns: From acceptance to the start of the execution.
        compute_ns: Duration of the execution.
        batch_size: Snippets in that execution.
    """

    outputs: Mapping[str, FloatArray]
    queue_ns: int
    compute_ns: int
    batch_size: int
