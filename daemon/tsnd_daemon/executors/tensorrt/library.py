"""Loads TensorRT or TensorRT-RTX, and plans with them; the only file that imports the two."""

# ruff: noqa: PLC0415

import functools
import logging
import threading
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tsnd_daemon.errors import PackageError, SettingsError
from tsnd_daemon.executors.tensorrt.checks import Gpu, misfit
from tsnd_daemon.executors.tensorrt.engine import LoadedEngine
from tsnd_daemon.model_store import Model

if TYPE_CHECKING:
    import tensorrt

_logger = logging.getLogger(__name__)

_TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_MOST_ERRORS = 20


class Log:
    """Keeps what a library reports as errors, per thread; its warnings go to our log."""

    def __init__(self) -> None:
        self._here = threading.local()
        self.logger: Any = None

    def hear(self, severity: str, text: str) -> None:
        """Keep or log one of its lines."""
        line = " ".join(text.split())
        if severity in _ERRORS:
            self._here.errors = [*self._errors()[1 - _MOST_ERRORS :], line]
        elif severity == "WARNING":
            _logger.warning("%s", line)

    def complaints(self) -> str:
        """Return this thread's errors so far, each once, and forget them."""
        errors, self._here.errors = self._errors(), []
        return "; ".join(dict.fromkeys(errors)) or "it does not say why"

    def _errors(self) -> list[str]:
        return getattr(self._here, "errors", [])


def load_engine(model: Model, gpu: Gpu) -> LoadedEngine:
    """Load a plan on the GPU whose context is current.

    Raises:
        SettingsError: When the library that built it is not installed or does not start.
        PackageError: When the plan does not fit it or the GPU, or does not load.
    """
    plan = model.artifact.plan
    if plan.backend not in _TITLES:
        raise PackageError(
            f"{model.path} is for the backend {plan.backend!r}, this tsnd knows "
            f"{', '.join(_TITLES)}. Run tsn-build plan with the release that serves it."
        )
    trt = _import(plan.backend)
    title = f"{_TITLES[plan.backend]} {trt.__version__}"
    reason = misfit(
        plan,
        version=str(trt.__version__),
        compute_capability=gpu.compute_capability,
        graphs=[artifact.sha256 for artifact in model.manifest.artifacts],
    )
    if reason is not None:
        raise PackageError(f"{model.path} does not run on GPU {gpu.number} ({gpu.name}): {reason}.")
    log = _log_of(trt)
    return LoadedEngine(_deserialize(model, trt, log, title), log.complaints)


def _import(backend: str) -> ModuleType:
    try:
        with warnings.catch_warnings():  # theirs, about Python's own C API
            warnings.simplefilter("ignore")
            return _bindings(backend)
    except (ImportError, OSError, RuntimeError) as err:
        raise SettingsError(
            f"the plan needs {_TITLES[backend]}, which does not load ({err}): pip install "
            f"'tsnd[gpu,{backend}]', or take --backend onnxruntime."
        ) from err


def _bindings(backend: str) -> ModuleType:
    bindings: ModuleType
    if backend == "tensorrt-rtx":
        import tensorrt_rtx

        bindings = tensorrt_rtx
    else:
        import tensorrt

        bindings = tensorrt
    return bindings


def _deserialize(model: Model, trt: ModuleType, log: Log, title: str) -> "tensorrt.ICudaEngine":
    log.complaints()  # from before
    try:
        runtime: tensorrt.Runtime = trt.Runtime(log.logger)
    except TypeError as err:  # what the bindings make of nothing
        raise SettingsError(
            f"{title} does not start: {log.complaints()}. It may need a later driver: compare "
            "nvidia-smi with its release notes."
        ) from err
    # Version-compatible plans bring a small runtime of their own.
    runtime.engine_host_code_allowed = model.artifact.plan.version_compatible
    engine: tensorrt.ICudaEngine | None = runtime.deserialize_cuda_engine(model.path.read_bytes())
    if engine is None:
        raise PackageError(
            f"{title} does not load {model.path}: {log.complaints()}. Run tsn-build plan again, "
            "or when memory is short, serve fewer models or instances on this GPU."
        )
    return engine


@functools.cache
def _log_of(trt: ModuleType) -> Log:
    """Return the one log of a library: it keeps the first logger that it gets for good."""
    log = Log()

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined] # a module known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: "tensorrt.ILogger.Severity", msg: str) -> None:
            log.hear(severity.name, msg)

    log.logger = Logger()
    return log
