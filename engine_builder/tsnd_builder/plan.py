"""Turns a serialized ONNX graph into a plan: a serialized engine of TensorRT or TensorRT-RTX.

The only file of the builder that imports these libraries, and Polygraphy, which hides how
their versions differ; all are loaded when first needed. The network is strongly typed:
every value has the type that the graph gives it.
"""

# ruff: noqa: PLC0415

import functools
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from tsnd_builder.build_progress import BuildWatch, Listener
from tsnd_builder.errors import FileUnreadable, PackageError, PlanError
from tsnd_builder.gpu import Gpu, find_gpu
from tsnd_builder.plan_options import Backend, HardwareCompatibility, PlanOptions, Profile
from tsnd_builder.storage import replace_file
from tsnd_builder.tensorrt_words import build_complaints, parser_complaint, plain

if TYPE_CHECKING:
    import tensorrt

Report = Callable[[str], None]

_BATCH = -1
_INSTALL = {
    Backend.TENSORRT: "pip install 'tsnd[builder,tensorrt]'",
    Backend.TENSORRT_RTX: "pip install 'tsnd[builder,tensorrt-rtx]'",
}
_NO_GPU = (
    "TensorRT builds a plan only on a machine with the GPU that it is for, and here is no CUDA "
    "device or no driver. Build there, or for the backend tensorrt-rtx, which needs neither."
)
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_WARNINGS = ("WARNING",)
_SILENCE = 1_000  # above every severity of Polygraphy's logger, which writes to stdout
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class IOTensor:
    """An input or output.

    Attributes:
        name: As in the graph.
        dtype: As NumPy calls it, such as uint8 or float32.
        shape: Its dimensions; -1 is the batch.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan and what is known about it.

    Attributes:
        data: The serialized engine.
        backend: The library that built it and runs it.
        backend_version: Its version; without version compatibility the only one to run it.
        gpu: The GPU of the machine that built it; empty when it has none.
        compute_capability: What it was built for: 9.0, or 8.6,12.0 when these were chosen;
            empty for TensorRT-RTX's own choice, 8.0 and later.
        parser_warnings: What TensorRT's parser remarked about the graph.
        inputs: As the network states them.
        outputs: Likewise.
        build_seconds: How long parsing and building took.
    """

    data: bytes
    backend: Backend
    backend_version: str
    gpu: str
    compute_capability: str
    parser_warnings: tuple[str, ...]
    inputs: tuple[IOTensor, ...]
    outputs: tuple[IOTensor, ...]
    build_seconds: float


def availability(backend: Backend) -> str | None:
    """Say why plans of a backend cannot be built on this machine.

    Returns:
        One line with the reason and the remedy; None when they can.
    """
    try:
        _library(backend)
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
    if backend is Backend.TENSORRT and find_gpu() is None:
        return _NO_GPU
    return None


def build_plan(
    onnx_model: bytes,
    options: PlanOptions,
    *,
    report: Report | None = None,
    progress: Listener | None = None,
) -> BuiltPlan:
    """Build a plan.

    Ctrl-C ends the build at TensorRT's next step. No file but the timing cache is written,
    and that one only after a build that succeeded. One build at a time in a process.

    Args:
        onnx_model: A graph whose inputs have an open batch axis and are fixed otherwise.
        options: How to build it.
        report: Told the library's warnings, a line each, as they are known.
        progress: Told how far the build is, from another thread; see `progress_bar`. What
            it raises cancels the build and is raised from here.

    Returns:
        The plan. Where the GPU that it is for is here, the plan has been loaded on it, and
        its inputs and outputs are those of the graph.

    Raises:
        PlanError: When the backend is not available here, or refuses the graph.
        FileUnreadable: When there is a timing cache that cannot be read.
        KeyboardInterrupt: After Ctrl-C, when TensorRT has stopped.
    """
    reason = availability(options.backend)
    if reason is not None:
        raise PlanError(reason)
    gpu = find_gpu()
    _check_refit(options, gpu)
    library = _library(options.backend)
    tell = report or _ignore
    library.log.lines.clear()

    started = time.monotonic()
    network = _parse(library, onnx_model)
    parser_warnings = library.log.take_warnings()
    _report(library, parser_warnings, tell)
    data = _serialize(library, network, options, progress=progress, report=tell)
    seconds = time.monotonic() - started
    if gpu is not None:
        _check_on_gpu(library, network, data, gpu=gpu, options=options, report=tell)
    return BuiltPlan(
        data=data,
        backend=options.backend,
        backend_version=library.trt.__version__,
        gpu=gpu.name if gpu else "",
        compute_capability=_built_for(options, gpu),
        parser_warnings=parser_warnings,
        inputs=network.inputs,
        outputs=network.outputs,
        build_seconds=seconds,
    )


def _ignore(_line: str) -> None:
    """Report to nobody."""


def _check_refit(options: PlanOptions, gpu: Gpu | None) -> None:
    """Refuse what crashes inside TensorRT-RTX 1.7 without a device."""
    needs_gpu = options.weight_stripped or options.refittable
    if options.backend is Backend.TENSORRT_RTX and needs_gpu and gpu is None:
        raise PlanError(
            "TensorRT-RTX builds refittable and weight-stripped plans only where there is a GPU, "
            "and here is none. Leave these options out, or build on a machine with one."
        )


def _built_for(options: PlanOptions, gpu: Gpu | None) -> str:
    if options.backend is Backend.TENSORRT_RTX:
        return ",".join(options.compute_capabilities)
    return gpu.compute_capability if gpu else ""


class _Log:
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
        return build_complaints(text for severity, text in self.lines if severity in _ERRORS)


@dataclass(frozen=True, slots=True)
class _Library:
    """TensorRT or TensorRT-RTX, loaded."""

    backend: Backend
    trt: ModuleType
    log: _Log

    @property
    def title(self) -> str:
        return f"{self.backend.product} {self.trt.__version__}"


def _library(backend: Backend) -> _Library:
    """Load a library, and Polygraphy for it."""
    with warnings.catch_warnings():  # theirs, about Python's own C API
        warnings.simplefilter("ignore")
        bindings = _bindings(backend)
        _load_polygraphy(backend)
    return _Library(backend, bindings, _log_of(bindings))


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
    or that builds for both, can only set its `config` first and import the rest anew.
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
def _log_of(trt: ModuleType) -> _Log:
    """Return the one log of a library: it keeps the first logger that it gets for good."""
    log = _Log()

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined] # a module known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: "tensorrt.ILogger.Severity", msg: str) -> None:
            if severity.name in (*_ERRORS, *_WARNINGS):
                log.lines.append((severity.name, msg))

    log.logger = Logger()
    return log


def _monitor(trt: ModuleType, watch: BuildWatch) -> "tensorrt.IProgressMonitor":
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined] # likewise
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    return Monitor()


@dataclass(frozen=True, slots=True)
class _Network:
    """A parsed graph, with what owns its memory."""

    builder: "tensorrt.Builder"
    definition: "tensorrt.INetworkDefinition"
    parser: "tensorrt.OnnxParser"
    inputs: tuple[IOTensor, ...]
    outputs: tuple[IOTensor, ...]


def _parse(library: _Library, onnx_model: bytes) -> _Network:
    """Read a graph. Polygraphy's own parsing prints the errors and drops them."""
    trt = library.trt
    builder: tensorrt.Builder = trt.Builder(library.log.logger)
    # To be asked for in TensorRT 10; the only way in TensorRT 11.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: tensorrt.INetworkDefinition = builder.create_network(flags)
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, library.log.logger)
    if not parser.parse(onnx_model):
        raise PlanError(
            _sentences(f"{library.title} does not take this graph", _parser_complaints(parser))
            + " Serve it with ONNX Runtime, or change these nodes."
        )
    inputs = tuple(_stated(network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_stated(network.get_output(i)) for i in range(network.num_outputs))
    _check_inputs(inputs, outputs)
    return _Network(builder, network, parser, inputs, outputs)


def _parser_complaints(parser: "tensorrt.OnnxParser") -> list[str]:
    complaints = []
    for index in range(parser.num_errors):
        error: tensorrt.ParserError = parser.get_error(index)
        complaints.append(parser_complaint(error.node_name(), error.node_operator(), error.desc()))
    return complaints


def _stated(tensor: "tensorrt.ITensor") -> IOTensor:
    return IOTensor(tensor.name, _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(dtype: "tensorrt.DataType") -> str:
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())


def _check_inputs(inputs: tuple[IOTensor, ...], outputs: tuple[IOTensor, ...]) -> None:
    if not inputs or not outputs:
        raise PlanError("the graph has no inputs or no outputs; is it an ONNX model?")
    for tensor in inputs:
        if tensor.shape[:1] != (_BATCH,) or _BATCH in tensor.shape[1:]:
            raise PlanError(
                f"the input {tensor.name!r} has the shape {list(tensor.shape)}; a plan needs an "
                "open batch axis (-1) in front, and all others fixed."
            )


def _serialize(
    library: _Library,
    network: _Network,
    options: PlanOptions,
    *,
    progress: Listener | None,
    report: Report,
) -> bytes:
    """Build, in a thread: Ctrl-C reaches this one, which TensorRT would not let run."""
    from polygraphy.backend.trt import engine_bytes_from_network
    from polygraphy.exception import PolygraphyException

    data, watch = b"", BuildWatch(progress)
    parts = (network.builder, network.definition, network.parser)
    with _quiet(), ThreadPoolExecutor(max_workers=1) as thread:
        try:
            config = _config(library, network, options, watch)
            data = bytes(thread.submit(engine_bytes_from_network, parts, config=config).result())
        except KeyboardInterrupt:
            watch.cancel()
            raise
        except PolygraphyException as err:
            if watch.failure is None:
                raise PlanError(_failure(library, options, str(err))) from err
        if watch.failure is not None:
            raise watch.failure
        if options.timing_cache is not None:
            _save_timing_cache(config, options.timing_cache, report)
    _report(library, library.log.take_warnings(), report)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Polygraphy, which prints, and warnings about old calls that it makes.

    Where warnings are errors, these come out of C++ as a SystemError.
    """
    from polygraphy.logger import G_LOGGER

    with G_LOGGER.verbosity(_SILENCE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _config(
    library: _Library, network: _Network, options: PlanOptions, watch: BuildWatch
) -> "tensorrt.IBuilderConfig":
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
    from polygraphy.backend.trt import CreateConfig
    from polygraphy.backend.trt import Profile as InputShapes

    trt = library.trt
    profiles = [InputShapes() for _ in options.profiles]
    for shapes, profile in zip(profiles, options.profiles, strict=True):
        for tensor in network.inputs:
            shapes.add(tensor.name, *_shapes(tensor, profile))
    common: dict[str, Any] = {
        "profiles": profiles,
        "version_compatible": options.version_compatible,
        "strip_plan": options.weight_stripped,
        "refittable": options.refittable,
        "builder_optimization_level": options.optimization_level,
        "progress_monitor": _monitor(trt, watch),
    }
    if options.workspace_bytes is not None:
        common["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_bytes}
    if options.backend is Backend.TENSORRT_RTX:
        targets = [tuple(map(int, each.split("."))) for each in options.compute_capabilities]
        create = CreateConfigRTX(compute_capabilities=targets or None, **common)
        config: tensorrt.IBuilderConfig = create(network.builder, network.definition)
    else:
        level = _hardware_compatibility(trt, options)
        with _open_timing_cache(options.timing_cache) as cache:
            create = CreateConfig(
                hardware_compatibility_level=level, load_timing_cache=cache, **common
            )
            config = create(network.builder, network.definition)
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:  # it is on by default, and FP32 is to stay FP32
        config.clear_flag(trt.BuilderFlag.TF32)
    return config


def _shapes(tensor: IOTensor, profile: Profile) -> Iterator[tuple[int, ...]]:
    """Return the smallest, tuned and largest shape of an input."""
    return ((batch, *tensor.shape[1:]) for batch in (profile.min, profile.opt, profile.max))


def _hardware_compatibility(
    trt: ModuleType, options: PlanOptions
) -> "tensorrt.HardwareCompatibilityLevel | None":
    levels = {
        HardwareCompatibility.AMPERE_PLUS: trt.HardwareCompatibilityLevel.AMPERE_PLUS,
        HardwareCompatibility.SAME_COMPUTE_CAPABILITY: (
            trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
        ),
    }
    return levels.get(options.hardware_compatibility)


def _open_timing_cache(path: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Open what an earlier build has left; Polygraphy takes no bytes, and locks paths."""
    if path is None or not path.exists():
        return nullcontext()
    try:
        return path.open("rb")
    except OSError as err:
        raise FileUnreadable(f"cannot read the timing cache {path}: {err.strerror}.") from err


def _save_timing_cache(config: "tensorrt.IBuilderConfig", path: Path, report: Report) -> None:
    """Write the timings of a build; the plan is worth more than they, so failure is told only."""
    cache: tensorrt.ITimingCache = config.get_timing_cache()
    if cache is None:
        return
    try:
        replace_file(path, bytes(cache.serialize()))
    except PackageError as err:
        report(f"the timing cache is not saved: {err}")


def _failure(library: _Library, options: PlanOptions, otherwise: str) -> str:
    """Say why a build failed: what was logged, or else what Polygraphy says."""
    complaints = library.log.errors() or (otherwise,)
    what = _sentences(f"{library.title} cannot build this plan", complaints)
    is_limited = options.workspace_bytes is not None
    if is_limited and re.search("memory|workspace", what, re.IGNORECASE):
        return f"{what} Allow a larger workspace, or build for smaller batches."
    return what


def _check_on_gpu(
    library: _Library,
    network: _Network,
    data: bytes,
    *,
    gpu: Gpu,
    options: PlanOptions,
    report: Report,
) -> None:
    """Load a plan and compare its inputs and outputs with those of the network."""
    trt = library.trt
    runtime: tensorrt.Runtime = trt.Runtime(library.log.logger)
    runtime.engine_host_code_allowed = options.version_compatible
    engine: tensorrt.ICudaEngine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        problem = _sentences(f"the plan does not load on {gpu.name}", library.log.errors())
        if options.backend is Backend.TENSORRT:
            raise PlanError(problem)
        report(problem)  # a plan of TensorRT-RTX may be for other machines
        return
    if not _agree((network.inputs, network.outputs), _engine_tensors(trt, engine)):
        raise PlanError(
            f"the plan has other inputs and outputs than its graph: {_engine_tensors(trt, engine)} "
            f"instead of {(network.inputs, network.outputs)}. Please report this."
        )


_Tensors = tuple[tuple[IOTensor, ...], tuple[IOTensor, ...]]


def _engine_tensors(trt: ModuleType, engine: "tensorrt.ICudaEngine") -> _Tensors:
    """Return the inputs and outputs of an engine."""
    found: dict[bool, list[IOTensor]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        tensor = IOTensor(
            name, _dtype(engine.get_tensor_dtype(name)), tuple(engine.get_tensor_shape(name))
        )
        found[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(tensor)
    return tuple(found[True]), tuple(found[False])


def _agree(stated: _Tensors, found: _Tensors) -> bool:
    """Say whether both have the same tensors, in any order."""
    return all(set(a) == set(b) for a, b in zip(stated, found, strict=True))


def _report(library: _Library, lines: Iterable[str], report: Report) -> None:
    for line in lines:
        report(f"{library.title}: {line}")


def _sentences(what: str, complaints: Iterable[str]) -> str:
    """Write one complaint on the line of what it is about, several below it."""
    lines = [complaint.rstrip(".") for complaint in complaints]
    if len(lines) == 1:
        return f"{what}: {lines[0]}."
    return "\n  ".join([f"{what}:", *lines])
