"""Options in TensorRT's own form, and the file of kernel timings that builds share."""

# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from tsnd_builder.errors import FileUnreadable, PackageError
from tsnd_builder.plans.library import Library
from tsnd_builder.plans.options import Backend, HardwareCompatibility, PlanOptions, Profile
from tsnd_builder.plans.parse import Network
from tsnd_builder.plans.progress import BuildWatch
from tsnd_builder.plans.tensors import IOTensor
from tsnd_builder.storage import replace_file

if TYPE_CHECKING:
    import tensorrt


def builder_config(
    library: Library, network: Network, options: PlanOptions, watch: BuildWatch
) -> "tensorrt.IBuilderConfig":
    """Return how TensorRT is to build a network.

    Raises:
        FileUnreadable: When there is a timing cache that cannot be read.
        PolygraphyException: When TensorRT refuses a value.
    """
    trt = library.trt
    if options.backend is Backend.TENSORRT_RTX:
        config = _rtx_config(trt, network, options, watch)
    else:
        config = _tensorrt_config(trt, network, options, watch)
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:  # it is on by default, and FP32 is to stay FP32
        config.clear_flag(trt.BuilderFlag.TF32)
    return config


def save_timing_cache(
    config: "tensorrt.IBuilderConfig", path: Path, report: Callable[[str], None]
) -> None:
    """Write the timings of a build; the plan is worth more than they, so failure is told only."""
    cache: tensorrt.ITimingCache = config.get_timing_cache()
    if cache is None:
        return
    try:
        replace_file(path, bytes(cache.serialize()))
    except PackageError as err:
        report(f"the timing cache is not saved: {err}")


def _rtx_config(
    trt: ModuleType, network: Network, options: PlanOptions, watch: BuildWatch
) -> "tensorrt.IBuilderConfig":
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    targets = [tuple(map(int, each.split("."))) for each in options.compute_capabilities]
    create = CreateConfigRTX(
        compute_capabilities=targets or None, **_common(trt, network, options, watch)
    )
    config: tensorrt.IBuilderConfig = create(network.builder, network.definition)
    return config


def _tensorrt_config(
    trt: ModuleType, network: Network, options: PlanOptions, watch: BuildWatch
) -> "tensorrt.IBuilderConfig":
    from polygraphy.backend.trt import CreateConfig

    with _open_timing_cache(options.timing_cache) as cache:
        create = CreateConfig(
            hardware_compatibility_level=_hardware_compatibility(trt, options),
            load_timing_cache=cache,
            **_common(trt, network, options, watch),
        )
        config: tensorrt.IBuilderConfig = create(network.builder, network.definition)
    return config


def _common(
    trt: ModuleType, network: Network, options: PlanOptions, watch: BuildWatch
) -> dict[str, Any]:
    """Return Polygraphy's arguments for what both libraries know."""
    from polygraphy.backend.trt import Profile as InputShapes

    profiles = [InputShapes() for _ in options.profiles]
    for shapes, profile in zip(profiles, options.profiles, strict=True):
        for tensor in network.inputs:
            shapes.add(tensor.name, *_shapes(tensor, profile))
    arguments: dict[str, Any] = {
        "profiles": profiles,
        "version_compatible": options.version_compatible,
        "strip_plan": options.weight_stripped,
        "refittable": options.refittable,
        "builder_optimization_level": options.optimization_level,
        "progress_monitor": _monitor(trt, watch),
    }
    if options.workspace_bytes is not None:
        arguments["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_bytes}
    return arguments


def _shapes(tensor: IOTensor, profile: Profile) -> Iterator[tuple[int, ...]]:
    """Return the smallest, tuned and largest shape of an input."""
    return ((batch, *tensor.shape[1:]) for batch in (profile.min, profile.opt, profile.max))


def _monitor(trt: ModuleType, watch: BuildWatch) -> "tensorrt.IProgressMonitor":
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined] # known at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    return Monitor()


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
