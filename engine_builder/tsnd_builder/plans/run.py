"""Runs plans on this machine's GPU, through Polygraphy, and says beforehand when it cannot.

TensorRT's runtime may crash the process where there is no GPU, so the driver is asked first.
"""

# ruff: noqa: PLC0415

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PlanError
from tsnd_builder.inference import Floats, Frames, batches
from tsnd_builder.plans.gpu import Gpu, find_gpu
from tsnd_builder.plans.library import Library, load, problem_of, quiet
from tsnd_builder.plans.options import Backend, HardwareCompatibility, Profile
from tsnd_builder.plans.tensors import engine_tensors
from tsnd_builder.plans.words import plain, sentences

if TYPE_CHECKING:
    import tensorrt
    from polygraphy.backend.trt import TrtRunner

Infer = Callable[[Frames], Sequence[Floats]]
"""Runs one batch that the profile allows: a result of as many rows for each output."""

_AMPERE = (8, 0)
"""Compute capability from which on plans for many GPUs run."""

_NO_GPU = "it needs an NVIDIA GPU, and here is no CUDA device or no driver"


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether plans of a backend run on a machine.

    Attributes:
        problem: Why the library cannot be used there at all; empty when it can.
        version: Of the library.
        gpu: The first GPU that the process sees.
    """

    problem: str
    version: str
    gpu: Gpu | None


def this_machine(backend: str) -> Machine:
    """Return what this machine has for a backend, named as in a manifest."""
    if backend not in list(Backend):
        return Machine(f"this version of tsnd does not know its backend {backend!r}", "", None)
    known, gpu = Backend(backend), find_gpu()
    problem = problem_of(known)
    if problem is not None:
        return Machine(problem.rstrip("."), "", gpu)
    library = load(known)
    return Machine(_cuda_problem() if gpu else "", library.version, gpu)


def unavailable(plan: pb.Plan, machine: Machine) -> str | None:
    """Say why a machine cannot run a plan.

    Args:
        plan: What the manifest says of it.
        machine: What the machine has for the plan's backend.

    Returns:
        A reason, without a full stop; None when it can.
    """
    gpu = machine.gpu
    if plan.weight_stripped:
        return "its weights are left out (--weight-stripped), and without them it gives no results"
    if machine.problem:
        return machine.problem
    if gpu is None:
        return _NO_GPU
    if not _is_version_right(plan, machine.version):
        return (
            f"it was built by {plan.backend} {plan.backend_version}, and here is "
            f"{machine.version}; build it again"
        )
    if not _is_gpu_right(plan, gpu):
        return (
            f"it was built for compute capability {plan.compute_capability or '8.0 and later'}, "
            f"and the {gpu.name} here has {gpu.compute_capability}; build it here"
        )
    return None


def run_plan(
    data: bytes,
    backend: Backend,
    *,
    profiles: Sequence[Profile],
    inputs: Sequence[Frames],
    outputs: Sequence[str],
) -> list[list[list[Floats]]]:
    """Run frames through each profile of a plan, which has kernels of its own.

    Args:
        data: The plan; `unavailable` has no reason against it.
        backend: Of the plan.
        profiles: All of the plan's, in its order.
        inputs: Sets of frames.
        outputs: Names of what to return.

    Returns:
        For each profile, for each set of frames, for each output: its rows for all frames.

    Raises:
        PlanError: When it does not load or run, or has other inputs and outputs.
    """
    if find_gpu() is None:
        raise PlanError(f"the plan cannot run: {_NO_GPU}.")
    library = load(backend)
    library.log.lines.clear()
    with _failures_named(library), quiet():
        engine = _deserialize(library, data)
        source = _source(library, engine, outputs)
        return [
            _run_profile(engine, index, profile, source=source, inputs=inputs, outputs=outputs)
            for index, profile in enumerate(profiles)
        ]


def in_batches(infer: Infer, frames: Frames, profile: Profile) -> list[Floats]:
    """Run frames in batches that a profile allows.

    The largest that it has; the last one is filled up with copies of its last frame when it is
    too small, and their results are cut off.

    Returns:
        For each output, its rows for all frames.
    """
    parts: list[list[Floats]] = []
    for batch in batches(frames, profile.max):
        missing = max(profile.min - len(batch), 0)
        padded = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        # Copied: the next batch is written into the same memory.
        parts.append([rows[: len(batch)].copy() for rows in infer(padded)])
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


def _cuda_problem() -> str:
    """Say what keeps Polygraphy from CUDA; it brings no CUDA runtime of its own."""
    from polygraphy import cuda
    from polygraphy.exception import PolygraphyException

    try:
        with quiet():
            cuda.wrapper()
    except (OSError, PolygraphyException):
        return "Polygraphy finds no CUDA runtime; put the folder of libcudart.so on LD_LIBRARY_PATH"
    return ""


def _is_version_right(plan: pb.Plan, version: str) -> bool:
    if version == plan.backend_version:
        return True
    return plan.version_compatible and _numbers(version) > _numbers(plan.backend_version)


def _is_gpu_right(plan: pb.Plan, gpu: Gpu) -> bool:
    built_for = [each for each in plan.compute_capability.split(",") if each]
    is_for_many = not built_for or plan.hardware_compatibility == HardwareCompatibility.AMPERE_PLUS
    if is_for_many and _numbers(gpu.compute_capability) >= _AMPERE:
        return True
    return gpu.compute_capability in built_for


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, so that 10.13 is later than 10.2."""
    return tuple(map(int, re.findall(r"\d+", version)))


@contextmanager
def _failures_named(library: Library) -> Iterator[None]:
    """Raise what goes wrong with a plan as one error that says why."""
    from polygraphy.exception import PolygraphyException

    try:
        yield
    except (PolygraphyException, OSError) as err:
        said = library.log.errors() or (plain(str(err)),)
        raise PlanError(sentences(f"{library.title} does not run the plan", said)) from err


def _deserialize(library: Library, data: bytes) -> "tensorrt.ICudaEngine":
    from polygraphy.backend.trt import EngineFromBytes

    runtime: tensorrt.Runtime = library.start(library.trt.Runtime)
    engine: tensorrt.ICudaEngine = EngineFromBytes(data, runtime=runtime)()
    return engine


def _source(library: Library, engine: "tensorrt.ICudaEngine", outputs: Sequence[str]) -> str:
    """Return the name of the only input."""
    taken, given = ([t.name for t in side] for side in engine_tensors(library.trt, engine))
    if len(taken) != 1 or not set(outputs) <= set(given):
        raise PlanError(
            f"the plan takes {', '.join(taken)} and gives {', '.join(given)}; expected one input "
            f"and the outputs {', '.join(outputs)}."
        )
    return taken[0]


def _run_profile(
    engine: "tensorrt.ICudaEngine",
    index: int,
    profile: Profile,
    *,
    source: str,
    inputs: Sequence[Frames],
    outputs: Sequence[str],
) -> list[list[Floats]]:
    with _runner(engine, index) as runner:

        def infer(batch: Frames) -> list[Floats]:
            found = runner.infer({source: batch})
            return [found[output] for output in outputs]

        return [in_batches(infer, frames, profile) for frames in inputs]


@contextmanager
def _runner(engine: "tensorrt.ICudaEngine", profile: int) -> "Iterator[TrtRunner]":
    """Start an engine in one of its profiles, and free all GPU memory at the end.

    Of Polygraphy 0.53's own runner, the outputs' memory stays allocated, and all of it when its
    constructor was given a profile that cannot be set.
    """
    from polygraphy.backend.trt import TrtRunner

    with TrtRunner(engine) as runner:
        try:
            runner.set_profile(profile)
            yield runner
        finally:
            for buffer in runner.output_allocator.buffers.values():
                buffer.free()
