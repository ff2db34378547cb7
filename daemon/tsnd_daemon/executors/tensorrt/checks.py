"""Says whether a plan can run here. Pure: no CUDA, no TensorRT."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tsnd.v1 import model_pb2 as pb

_AMPERE = (8, 0)
"""Compute capability from which on plans for many GPUs run."""

_AMPERE_PLUS = "ampere-plus"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device.

    Attributes:
        number: As CUDA counts those that the process sees, from 0.
        name: As its driver calls it.
        compute_capability: Such as 9.0.
    """

    number: int
    name: str
    compute_capability: str


def misfit(
    plan: pb.Plan, *, version: str, compute_capability: str, graphs: Iterable[str] | None = None
) -> str | None:
    """Say why a plan does not run with a library on a GPU, and what to do.

    Whether the file is the one that was built, the model store has checked by its SHA-256.

    Args:
        plan: What the manifest says of it.
        version: Of the library here, such as 11.4.0.106.
        compute_capability: Of the GPU, such as 9.0.
        graphs: SHA-256 of the graphs that the package has now; None skips that check.

    Returns:
        A reason and a remedy, without a full stop; None when it runs.
    """
    if plan.weight_stripped:
        return (
            "its weights are left out, and without them it gives no results; build it without "
            "--weight-stripped"
        )
    if graphs is not None and plan.source_sha256 not in graphs:
        return "the graph that it was built from has been replaced since; run tsn-build plan again"
    if not _fits_version(plan, version):
        return (
            f"it was built by {plan.backend} {plan.backend_version}, and here is {version}; run "
            "tsn-build plan again, or install that version"
        )
    if not _fits_gpu(plan, compute_capability):
        return (
            f"it was built for compute capability {plan.compute_capability or '8.0 and later'}, "
            f"and the GPU has {compute_capability}; run tsn-build plan on this machine"
        )
    return None


def _fits_version(plan: pb.Plan, version: str) -> bool:
    if version == plan.backend_version:
        return True
    return plan.version_compatible and _numbers(version) > _numbers(plan.backend_version)


def _fits_gpu(plan: pb.Plan, compute_capability: str) -> bool:
    built_for = [each for each in plan.compute_capability.split(",") if each]
    is_for_many = not built_for or plan.hardware_compatibility == _AMPERE_PLUS
    if is_for_many and _numbers(compute_capability) >= _AMPERE:
        return True
    return compute_capability in built_for


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, so that 10.13 is later than 10.2."""
    return tuple(map(int, re.findall(r"\d+", version)))
