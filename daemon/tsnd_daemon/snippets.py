"""The values that cross the daemon's rooms; nobody changes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tsnd_daemon.errors import RequestError

Pixels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

SCORES = "scores"
"""The output that every model has: one value per label, before softmax."""


class Stored(Protocol):
    """Pixels that come to their place in a batch from elsewhere, such as a JPEG file.

    Only then: what is shed or expires before costs nothing, and there is no copy between.

    Attributes:
        error: Why they did not come; None when they did. The rest of the batch runs all
            the same.
        waited_ns: For how long `finish` has waited for them to be decoded.
    """

    error: RequestError | None

    @property
    def waited_ns(self) -> int:
        """See above; what is not decoded may have a constant."""
        ...

    def begin(self, row: Pixels) -> None:
        """Begin to write them, where it takes long in another thread.

        Args:
            row: uint8 of the model's input shape, contiguous.
        """
        ...

    def finish(self) -> None:
        """Wait until they are written, or `error` says why not."""
        ...


@dataclass(slots=True, eq=False)
class Snippet:
    """A validated snippet: pixels uint8 of the model's input shape, read only, or where they are.

    Not frozen: that would cost a microsecond for each.
    """

    id: str
    pixels: Pixels | Stored

    @property
    def error(self) -> RequestError | None:
        """Why it has no pixels, once its batch has run; None when it has."""
        return None if isinstance(self.pixels, np.ndarray) else self.pixels.error

    @property
    def decode_ns(self) -> int:
        """For how long its batch waited for its pixels to be decoded, once it has run."""
        return 0 if isinstance(self.pixels, np.ndarray) else self.pixels.waited_ns


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What one batch gave, and when it ran: monotonic nanoseconds.

    Attributes:
        outputs: float32 rows by output name.
        start_ns: When it had its executor to itself: from the end of the batch before, when
            the two overlapped.
        end_ns: When it had its outputs.
        begun_ns: When its pixels began to be brought to its buffer.
        ready_ns: When they were there.
        decode_ns: For how long of that the decoding of JPEG was waited for.
    """

    outputs: Mapping[str, FloatArray]
    start_ns: int
    end_ns: int
    begun_ns: int
    ready_ns: int
    decode_ns: int = 0


@dataclass(slots=True, eq=False)
class Scores:
    """What one snippet got. Not frozen: that would cost a microsecond for each.

    Attributes:
        execution: The batch that it was part of.
        row: Which of its rows.
        queue_ns: From acceptance to the start of the execution.
        batch_size: Snippets in the execution.
    """

    execution: Execution
    row: int
    queue_ns: int
    batch_size: int

    @property
    def outputs(self) -> dict[str, FloatArray]:
        """The snippet's own: float32 [length] by output name."""
        return {name: rows[self.row] for name, rows in self.execution.outputs.items()}

    @property
    def compute_ns(self) -> int:
        """Duration of the execution."""
        return self.execution.end_ns - self.execution.start_ns
