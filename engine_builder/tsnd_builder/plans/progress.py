"""How far the build of a plan is: TensorRT's nested phases made into one number, and drawn.

TensorRT calls from threads of its own, out of code that cannot pass an exception on. So
what a listener raises is kept here, cancels the build and is raised again afterwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TextIO

_BAR_WIDTH = 30
_CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a build is.

    Attributes:
        phase: What TensorRT calls the innermost thing it does.
        fraction: Of the whole build, 0 to 1; never falls.
    """

    phase: str
    fraction: float


Listener = Callable[[Progress], None]


@dataclass(slots=True)
class _Phase:
    name: str
    parent: str | None
    steps: int
    done: int = 0


class BuildWatch:
    """Follows one build and may cancel it; its methods can be called from any thread."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._lock = Lock()
        self._phases: dict[str, _Phase] = {}
        self._furthest = 0.0
        self._is_cancelled = False
        self.failure: BaseException | None = None
        """What the listener raised."""

    def cancel(self) -> None:
        """Make the build end at its next step."""
        self._is_cancelled = True

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """Note that a phase has begun, inside a step of its parent."""
        with self._lock:
            self._phases[phase] = _Phase(phase, parent, max(steps, 1))
            self._tell()

    def step(self, phase: str, step: int) -> bool:
        """Note that a step (from 0) of a phase is done; return whether to go on."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = step + 1
                self._tell()
            return not self._is_cancelled

    def finish(self, phase: str) -> None:
        """Note that a phase has ended."""
        with self._lock:
            self._phases.pop(phase, None)

    def _tell(self) -> None:
        if self._listener is None or self._is_cancelled:
            return
        self._furthest = max(self._furthest, _fraction(self._phases))
        try:
            self._listener(Progress(next(reversed(self._phases)), self._furthest))
        except BaseException as err:  # noqa: BLE001 - C++ calls this: an exception would abort
            self.failure = err
            self._is_cancelled = True


def _fraction(phases: dict[str, _Phase]) -> float:
    """Return how much of the outermost phase is done, with what is done of its open step."""
    fraction, phase = 0.0, phases[next(reversed(phases))]
    for _ in phases:  # no deeper than there are phases
        fraction = min((phase.done + fraction) / phase.steps, 1.0)
        if phase.parent is None:
            return fraction
        if phase.parent not in phases:
            return 0.0
        phase = phases[phase.parent]
    return 0.0


@contextmanager
def progress_bar(stream: TextIO) -> Iterator[Listener | None]:
    """Draw a bar on a terminal, and wipe it away at the end.

    Args:
        stream: Where to draw, such as stderr.

    Yields:
        The listener for `build_plan`; None when the stream is not a terminal.
    """
    if not stream.isatty():
        yield None
        return
    shown = ""

    def draw(progress: Progress) -> None:
        nonlocal shown
        line = bar(progress)
        if line != shown:
            shown = line
            stream.write(f"{_CLEAR_LINE}{line}")
            stream.flush()

    try:
        yield draw
    finally:
        stream.write(_CLEAR_LINE)
        stream.flush()


def bar(progress: Progress) -> str:
    """Write progress as one line of less than 80 columns."""
    filled = int(progress.fraction * _BAR_WIDTH)
    cells = "#" * filled + "-" * (_BAR_WIDTH - filled)
    return f"[{cells}] {progress.fraction:4.0%} {progress.phase[:40]}"
