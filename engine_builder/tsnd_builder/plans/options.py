"""What a plan is built for: which library, which batch sizes, which trade-offs. Pure values."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tsnd_builder.errors import SelectionError

_COMPUTE_CAPABILITY = re.compile(r"[1-9]\d?\.\d")
_OPTIMIZATION_LEVELS = range(6)


class Backend(StrEnum):
    """The library that builds a plan, and the only one that runs it.

    TENSORRT: kernels are timed and chosen for the GPU of this machine, which it needs.
    TENSORRT_RTX: kernels are compiled where the plan runs; building needs no GPU.
    """

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"

    @property
    def product(self) -> str:
        """Its name for people."""
        return "TensorRT" if self is Backend.TENSORRT else "TensorRT-RTX"


class HardwareCompatibility(StrEnum):
    """The GPUs on which a plan of TensorRT runs, besides those like the one it was built on."""

    NONE = "none"
    AMPERE_PLUS = "ampere-plus"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes of one optimization profile, in snippets.

    Attributes:
        min: The smallest that runs.
        opt: The one it is tuned for.
        max: The largest that runs.

    Raises:
        SelectionError: When they are not in this order, or below 1.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise SelectionError(
                f"{self.min},{self.opt},{self.max} is not an optimization profile: the batch sizes "
                "are MIN,OPT,MAX with 1 <= MIN <= OPT <= MAX."
            )


def parse_profile(text: str) -> Profile:
    """Read a profile such as `1,4,8`.

    Raises:
        SelectionError: When it is none.
    """
    sizes = [size.strip() for size in text.split(",")]
    if len(sizes) != 3 or not all(size.isdecimal() and size.isascii() for size in sizes):
        raise SelectionError(
            f"{text!r} is not an optimization profile: give MIN,OPT,MAX batch sizes in snippets, "
            "such as 1,4,8."
        )
    return Profile(*(int(size) for size in sizes))


def profiles_for(max_batch_size: int) -> tuple[Profile, ...]:
    """Return the profile of a busy server: any batch size runs, the largest runs best.

    Raises:
        SelectionError: When the batch size is below 1.
    """
    return (Profile(1, max_batch_size, max_batch_size),)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to build a plan. Precision is none of it: that is written in the graph.

    Attributes:
        backend: The library to build with.
        profiles: At least one; each costs an execution context of its own at run time.
        workspace_bytes: Most GPU memory a kernel may use for scratch; None means all.
        optimization_level: 0 (fast to build) to 5 (fast to run); None means TensorRT's own.
            TensorRT only: TensorRT-RTX builds the same plan at every level.
        version_compatible: Later versions of TensorRT run the plan too, somewhat slower. A
            runtime must set `engine_host_code_allowed` to load it. TensorRT only.
        hardware_compatibility: Other GPUs that run the plan, somewhat slower. TensorRT only.
        weight_stripped: Leave the weights out; the plan must be refitted from its ONNX file
            before it runs. TensorRT-RTX needs a GPU to build one.
        refittable: Weights can be replaced later. TensorRT-RTX needs a GPU to build one.
        tf32: Let FP32 layers round their inputs to 10 bits of mantissa, which is faster.
        timing_cache: A file of kernel timings, read if it is there and written after the
            build, which makes the next build faster. TensorRT only: TensorRT-RTX has none.
        compute_capabilities: GPUs to build for, such as ("8.6", "12.0"); none means 8.0 and
            all later ones that TensorRT-RTX knows. TensorRT-RTX only.

    Raises:
        SelectionError: When a value is not one, or the backend cannot honour it.
    """

    backend: Backend
    profiles: tuple[Profile, ...]
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    weight_stripped: bool = False
    refittable: bool = False
    tf32: bool = False
    timing_cache: Path | None = None
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = (*_impossible(self), *_unsupported(self))
        if problems:
            raise SelectionError(f"no plan can be built like this: {'; '.join(problems)}.")


def _impossible(options: PlanOptions) -> list[str]:
    """Say which values are wrong whatever the backend."""
    problems = []
    if not options.profiles:
        problems.append("it needs at least one optimization profile, such as 1,4,8")
    if options.workspace_bytes is not None and options.workspace_bytes < 1:
        problems.append(f"a workspace of {options.workspace_bytes} bytes is none")
    level = options.optimization_level
    if level is not None and level not in _OPTIMIZATION_LEVELS:
        problems.append(f"the optimization level is 0 to 5, not {level}")
    for capability in options.compute_capabilities:
        if not _COMPUTE_CAPABILITY.fullmatch(capability):
            problems.append(f"{capability!r} is not a compute capability such as 8.6")
    return problems


def _unsupported(options: PlanOptions) -> list[str]:
    """Say what the backend cannot honour, and why."""
    if options.backend is Backend.TENSORRT:
        if not options.compute_capabilities:
            return []
        return [
            "TensorRT builds for the GPU of this machine, not for chosen compute capabilities; use "
            "hardware compatibility or the backend tensorrt-rtx"
        ]
    is_compatible = options.hardware_compatibility is not HardwareCompatibility.NONE
    refused = {
        "timing cache": (options.timing_cache is not None, "it times no kernels when it builds"),
        "optimization level": (
            options.optimization_level is not None,
            "it builds the same plan at each",
        ),
        "version compatibility": (options.version_compatible, "its plans run on its own version"),
        "hardware compatibility": (is_compatible, "choose compute capabilities instead"),
    }
    return [
        f"TensorRT-RTX has no {option}: {reason}"
        for option, (is_set, reason) in refused.items()
        if is_set
    ]
