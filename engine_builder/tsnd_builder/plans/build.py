"""Turns a serialized ONNX graph into a plan: a serialized engine of TensorRT or TensorRT-RTX."""

# ruff: noqa: PLC0415

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsnd_builder.errors import PlanError
from tsnd_builder.plans.config import builder_config, save_timing_cache
from tsnd_builder.plans.gpu import Gpu, find_gpu
from tsnd_builder.plans.library import Library, load, problem_of, quiet
from tsnd_builder.plans.options import Backend, PlanOptions
from tsnd_builder.plans.parse import Network, parse
from tsnd_builder.plans.progress import BuildWatch, Listener
from tsnd_builder.plans.tensors import IOTensor, agree, engine_tensors
from tsnd_builder.plans.words import sentences

if TYPE_CHECKING:
    import tensorrt

Report = Callable[[str], None]

_NO_GPU = (
    "TensorRT builds a plan only on a machine with the GPU that it is for, and here is no CUDA "
    "device or no driver. Build there, or for the backend tensorrt-rtx, which needs neither."
)


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
    problem = problem_of(backend)
    if problem is None and backend is Backend.TENSORRT and find_gpu() is None:
        return _NO_GPU
    return problem


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
    library = load(options.backend)
    tell = report or _ignore
    library.log.lines.clear()

    started = time.monotonic()
    network = parse(library, onnx_model)
    parser_warnings = _tell_warnings(library, tell)
    data = _serialize(library, network, options, progress=progress, report=tell)
    seconds = time.monotonic() - started
    if gpu is not None:
        _check_on_gpu(library, network, data, gpu=gpu, options=options, report=tell)
    return BuiltPlan(
        data=data,
        backend=options.backend,
        backend_version=library.version,
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


def _tell_warnings(library: Library, report: Report) -> tuple[str, ...]:
    """Report what the library has warned of since the last time, and return it."""
    lines = library.log.take_warnings()
    for line in library.signed(lines):
        report(line)
    return lines


def _serialize(
    library: Library,
    network: Network,
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
    with quiet(), ThreadPoolExecutor(max_workers=1) as thread:
        try:
            config = builder_config(library, network, options, watch)
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
            save_timing_cache(config, options.timing_cache, report)
    _tell_warnings(library, report)
    return data


def _failure(library: Library, options: PlanOptions, otherwise: str) -> str:
    """Say why a build failed: what was logged, or else what Polygraphy says."""
    complaints = library.log.errors() or (otherwise,)
    what = sentences(f"{library.title} cannot build this plan", complaints)
    is_limited = options.workspace_bytes is not None
    if is_limited and re.search("memory|workspace", what, re.IGNORECASE):
        return f"{what} Allow a larger workspace, or build for smaller batches."
    return what


def _check_on_gpu(
    library: Library,
    network: Network,
    data: bytes,
    *,
    gpu: Gpu,
    options: PlanOptions,
    report: Report,
) -> None:
    """Load a plan and compare its inputs and outputs with those of the network."""
    trt = library.trt
    runtime: tensorrt.Runtime = library.start(trt.Runtime)
    runtime.engine_host_code_allowed = options.version_compatible
    engine: tensorrt.ICudaEngine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        problem = sentences(f"the plan does not load on {gpu.name}", library.log.errors())
        if options.backend is Backend.TENSORRT:
            raise PlanError(problem)
        report(problem)  # a plan of TensorRT-RTX may be for other machines
        return
    found = engine_tensors(trt, engine)
    if not agree(network.tensors, found):
        raise PlanError(
            f"the plan has other inputs and outputs than its graph: {found} instead of "
            f"{network.tensors}. Please report this."
        )
