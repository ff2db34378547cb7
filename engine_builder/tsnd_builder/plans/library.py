"""Loads TensorRT or TensorRT-RTX, with Polygraphy, which hides how their versions differ.

The only file of the builder that imports the two and sets Polygraphy up; all are loaded when
first needed, so everything else imports without them.
"""

# ruff: noqa: PLC0415

import functools
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from tsnd_builder.errors import PlanError
from tsnd_builder.plans.options import Backend
from tsnd_builder.plans.words import build_complaints, plain, sentences

if TYPE_CHECKING:
    import tensorrt

_Made = TypeVar("_Made")

_INSTALL = {
    Backend.TENSORRT: "pip install 'tsnd[builder,tensorrt]'",
    Backend.TENSORRT_RTX: "pip install 'tsnd[builder,tensorrt-rtx]'",
}
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_WARNINGS = ("WARNING",)
_SILENCE = 1_000  # above every severity of Polygraphy's logger, which writes to stdout


class Log:
    """Keeps the errors and warnings of a library, which would else go to the terminal."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.logger: Any = None

    def take_warnings(self) -> tuple[str, ...]:
        """Return the warnings so far, each once, and forget all that was logged."""
        found = [" ".join(text.split()) for severity, text in self.lines if severity in _WARNINGS]
        self.lines.clear()
        return tuple(dict.fromkeys(found))

    def errors(self) -> tuple[str, ...]:
        """Return what the errors so far say, each once."""
        return build_complaints(text for severity, text in self.lines if severity in _ERRORS)


@dataclass(frozen=True, slots=True)
class Library:
    """TensorRT or TensorRT-RTX, loaded.

    Attributes:
        backend: Which of the two.
        trt: Its Python module.
        log: What it says.
    """

    backend: Backend
    trt: ModuleType
    log: Log

    @property
    def version(self) -> str:
        """Such as 11.4.0.106."""
        return str(self.trt.__version__)

    @property
    def title(self) -> str:
        """Its name for people, with the version."""
        return f"{self.backend.product} {self.version}"

    def start(self, kind: Callable[[Any], _Made]) -> _Made:
        """Make a Builder or a Runtime, which start CUDA.

        Raises:
            PlanError: When it cannot, such as with a driver that is too old.
        """
        try:
            return kind(self.log.logger)
        except TypeError as err:  # what the bindings make of nothing; the reason was logged
            said = self.log.errors() or (plain(str(err)),)
            raise PlanError(sentences(f"{self.title} does not start", said)) from err

    def signed(self, lines: Iterable[str]) -> Iterator[str]:
        """Put its name before what it says."""
        return (f"{self.title}: {line}" for line in lines)


def problem_of(backend: Backend) -> str | None:
    """Say why a library cannot be used on this machine.

    Returns:
        One line with the reason and the remedy; None when it can be loaded.
    """
    try:
        load(backend)
    except ModuleNotFoundError as err:
        return (
            f"{backend.product} cannot be used: the package {err.name} is not installed. Install "
            f"it: {_INSTALL[backend]}"
        )
    except (ImportError, OSError, RuntimeError) as err:
        return (
            f"{backend.product} is installed but does not load ({plain(str(err))}). Install it "
            f"anew: {_INSTALL[backend]}"
        )
    return None


def load(backend: Backend) -> Library:
    """Load a library, and Polygraphy for it."""
    with warnings.catch_warnings():  # theirs, about Python's own C API
        warnings.simplefilter("ignore")
        bindings = _bindings(backend)
        _load_polygraphy(backend)
    return Library(backend, bindings, _log_of(bindings))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Polygraphy, which prints, and warnings about old calls that it makes.

    Where warnings are errors, these come out of C++ as a SystemError.
    """
    from polygraphy.logger import G_LOGGER

    with G_LOGGER.verbosity(_SILENCE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _bindings(backend: Backend) -> ModuleType:
    bindings: ModuleType
    if backend is Backend.TENSORRT_RTX:
        import tensorrt_rtx

        bindings = tensorrt_rtx
    else:
        import tensorrt

        bindings = tensorrt
    return bindings


def _load_polygraphy(backend: Backend) -> None:
    """Import Polygraphy for one library.

    It asks the environment once, when it is first imported, which of the two to use, and
    every module of it keeps the answer. A process that was started without that variable,
    or that uses both, can only set its `config` first and import the rest anew.
    """
    from polygraphy import config

    is_rtx = backend is Backend.TENSORRT_RTX
    if is_rtx != config.USE_TENSORRT_RTX:
        for name in [name for name in sys.modules if name.partition(".")[0] == "polygraphy"]:
            del sys.modules[name]
        from polygraphy import config

        config.USE_TENSORRT_RTX = is_rtx
    import polygraphy.backend.tensorrt_rtx
    import polygraphy.backend.trt  # noqa: F401


@functools.cache
def _log_of(trt: ModuleType) -> Log:
    """Return the one log of a library: it keeps the first logger that it gets for good."""
    log = Log()

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined] # a module known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: "tensorrt.ILogger.Severity", msg: str) -> None:
            if severity.name in (*_ERRORS, *_WARNINGS):
                log.lines.append((severity.name, msg))

    log.logger = Logger()
    return log
