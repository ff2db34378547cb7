"""Chooses what runs a package here: which backend, and which of its graphs or plans. Pure.

package (manifest) ─┐
options ────────────┼──► choose() ──► model to run, and why nothing better
machine ────────────┘
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.backends.machine import Machine
from tsnd_daemon.errors import PackageError, SettingsError, StartError
from tsnd_daemon.executors.onnxruntime_gpu import PROVIDERS
from tsnd_daemon.executors.tensorrt.checks import Gpu, misfit
from tsnd_daemon.model_store import Model, Package
from tsnd_daemon.settings import Backend, ExecutionOptions

_AUTO: tuple[Backend, ...] = ("tensorrt", "tensorrt-rtx", "cuda", "openvino", "onnxruntime")

_PLAN_LIBRARIES: dict[Backend, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

_PRECISIONS = {
    "fp32": pb.PRECISION_FP32,
    "fp16": pb.PRECISION_FP16,
    "int8": pb.PRECISION_INT8,
}

_GRAPHS = (pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_TENSORRT_ONNX)


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs a package.

    Attributes:
        model: The graph or plan, and its backend.
        passed_over: A line for each backend that comes first and was not taken, with why.
    """

    model: Model
    passed_over: tuple[str, ...]


class _Unfit(Exception):
    """A backend that cannot run the package here.

    Attributes:
        reason: A line without a full stop.
        error: What is raised when no other backend is left.
    """

    def __init__(self, reason: str, error: StartError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


def choose(package: Package, options: ExecutionOptions, machine: Machine) -> Choice:
    """Choose what runs a package.

    With backend auto, the first of TensorRT, TensorRT-RTX, CUDA, OpenVINO and ONNX Runtime
    that the package holds something for and the machine has. With precision auto, FP16 on
    GPUs where the package has it, else FP32.

    Args:
        package: It is whole.
        options: What was asked for.
        machine: What there is.

    Raises:
        PackageError: When the package lacks what was asked for.
        SettingsError: When the machine lacks it.
    """
    _check_graphs(package)
    passed_over: list[str] = []
    candidates = _AUTO if options.backend == "auto" else (options.backend,)
    for backend in candidates:
        try:
            artifact = _artifact_for(backend, package, options, machine)
        except _Unfit as unfit:
            passed_over.append(f"{backend}: {unfit.reason}")
            error = unfit.error
        else:
            path = package.folder / artifact.file
            return Choice(Model(package.manifest, artifact, path, backend), tuple(passed_over))
    raise error


def precision_name(artifact: pb.Artifact) -> str:
    """Return the precision of a graph or plan as the settings call it."""
    return next(name for name, value in _PRECISIONS.items() if value == _precision(artifact))


def _check_graphs(package: Package) -> None:
    """Refuse a manifest in which a precision does not name one serving graph."""
    graphs = list(_of_kind(package, pb.ARTIFACT_KIND_SERVING_ONNX))
    precisions = {_precision(graph) for graph in graphs}
    if not graphs or len(precisions) != len(graphs):
        raise PackageError(
            f"{package.folder} lists {len(graphs)} serving graphs in {len(precisions)} "
            "precisions, expected one in each. Build the package again."
        )


def _artifact_for(
    backend: Backend, package: Package, options: ExecutionOptions, machine: Machine
) -> pb.Artifact:
    """Return what a backend would run; raises _Unfit when it cannot."""
    if backend in _PLAN_LIBRARIES:
        return _plan(backend, package, options, machine)
    if backend in PROVIDERS:
        _check_provider(backend, machine)
        _gpus(backend, options, machine)
        return _graph(backend, package, options, ("fp16", "fp32"))
    if backend == "openvino" and "openvino" not in machine.libraries:
        raise _missing(backend, "OpenVINO is not installed", "pip install 'tsnd[openvino]'")
    return _graph(backend, package, options, ("fp32",))


def _graph(
    backend: Backend, package: Package, options: ExecutionOptions, preferred: Sequence[str]
) -> pb.Artifact:
    """Return the serving graph in the wanted precision, or the first preferred one."""
    wanted = _wanted(options, preferred)
    # TensorRT wants other quantization than CPUs; where a package has both, its own.
    kinds = _GRAPHS[::-1] if backend == "nv-tensorrt-rtx" else _GRAPHS[:1]
    for precision in wanted:
        for kind in kinds:
            for artifact in _of_kind(package, kind):
                if _precision(artifact) == _PRECISIONS[precision]:
                    return artifact
    precision = wanted[-1]
    calibration = " --calibration VIDEO_OR_FOLDER" if precision == "int8" else ""
    raise _Unfit(
        f"the package has no {precision} graph",
        PackageError(
            f"{package.folder} has no {precision} graph. Add one with tsn-build add "
            f"{package.folder} --precision {precision}{calibration}, or start with another "
            "--precision."
        ),
    )


def _plan(
    backend: Backend, package: Package, options: ExecutionOptions, machine: Machine
) -> pb.Artifact:
    """Return the plan in the wanted precision that runs on all of the wanted GPUs."""
    wanted = _wanted(options, ("fp16", "fp32"))
    plans = [
        plan
        for precision in wanted
        for plan in _of_kind(package, pb.ARTIFACT_KIND_PLAN)
        if plan.plan.backend == backend and _precision(plan) == _PRECISIONS[precision]
    ]
    if not plans:
        raise _no_plan(backend, package, wanted[0], "the package has no plan for it", options)
    version = _plan_library(backend, machine)
    gpus = _gpus(backend, options, machine)
    graphs = {graph.sha256 for kind in _GRAPHS for graph in _of_kind(package, kind)}
    reasons = {
        plan.file: _plan_misfit(plan, version, gpus, graphs, options.max_batch_size)
        for plan in plans
    }
    fitting = [plan for plan in plans if reasons[plan.file] is None]
    if not fitting:
        why = "; ".join(f"{file}: {reason}" for file, reason in reasons.items())
        raise _no_plan(backend, package, wanted[0], f"no plan fits ({why})", options)
    # A plan for this GPU alone is faster than one that runs on many.
    first = _precision(fitting[0])
    return min(
        (plan for plan in fitting if _precision(plan) == first),
        key=lambda plan: plan.plan.hardware_compatibility not in ("", "none"),
    )


def _plan_misfit(
    artifact: pb.Artifact,
    version: str,
    gpus: Iterable[Gpu],
    graphs: Iterable[str],
    max_batch_size: int,
) -> str | None:
    """Say why a plan does not run here; None when it does."""
    largest = max((profile.max for profile in artifact.plan.profiles), default=0)
    if largest < max_batch_size:
        return (
            f"its batches have at most {largest} snippets and max_batch_size is {max_batch_size}; "
            "lower that, or build it with a larger --max-batch-size"
        )
    reasons = (
        misfit(
            artifact.plan,
            # Of a library that does not say which it is, the executor finds out.
            version=version or artifact.plan.backend_version,
            compute_capability=gpu.compute_capability,
            graphs=graphs,
        )
        for gpu in gpus
    )
    return next((reason for reason in reasons if reason is not None), None)


def _plan_library(backend: Backend, machine: Machine) -> str:
    """Return the version of the library that runs plans of a backend."""
    needed = (_PLAN_LIBRARIES[backend], "pycuda")
    missing = [name for name in needed if name not in machine.libraries]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        names = " and ".join(missing)
        raise _missing(
            backend, f"{names} {verb} not installed", f"pip install 'tsnd[gpu,{backend}]'"
        )
    return machine.libraries[needed[0]]


def _check_provider(backend: Backend, machine: Machine) -> None:
    provider = PROVIDERS[backend]
    if provider not in machine.providers:
        raise _missing(
            backend,
            f"ONNX Runtime has no {provider} here",
            "Install a build of ONNX Runtime that has it, for cuda pip install onnxruntime-gpu in "
            "place of onnxruntime",
        )


def _gpus(backend: Backend, options: ExecutionOptions, machine: Machine) -> list[Gpu]:
    """Return the GPUs of the options."""
    here = {gpu.number: gpu for gpu in machine.gpus}
    absent = [number for number in options.devices if number not in here]
    if not here:
        raise _missing(
            backend, "there is no CUDA device or no driver", "Check that nvidia-smi lists the GPU"
        )
    if absent:
        raise _missing(
            backend,
            f"there is no GPU {absent[0]}, only {', '.join(map(str, here))}",
            "Name those that exist with --device",
        )
    return [here[number] for number in options.devices]


def _missing(backend: Backend, reason: str, remedy: str) -> _Unfit:
    """Return what is said when the machine lacks something."""
    return _Unfit(
        reason,
        SettingsError(f"--backend {backend}: {reason}. {remedy}, or take another --backend."),
    )


def _no_plan(
    backend: Backend, package: Package, precision: str, reason: str, options: ExecutionOptions
) -> _Unfit:
    """Return what is said when the package has no plan for this machine."""
    return _Unfit(
        reason,
        PackageError(
            f"{package.folder} cannot be run with --backend {backend}: {reason}. Build one here "
            f"with tsn-build plan {package.folder} --backend {backend} --precision {precision} "
            f"--max-batch-size {options.max_batch_size}, or take another --backend."
        ),
    )


def _wanted(options: ExecutionOptions, preferred: Sequence[str]) -> Sequence[str]:
    """Return the precisions that will do, best first."""
    return preferred if options.precision == "auto" else (options.precision,)


def _of_kind(package: Package, kind: "pb.ArtifactKind.ValueType") -> Iterable[pb.Artifact]:
    return (artifact for artifact in package.manifest.artifacts if artifact.kind == kind)


def _precision(artifact: pb.Artifact) -> "pb.Precision.ValueType":
    """Return the arithmetic; files from before there were precisions state none and are FP32."""
    return artifact.precision or pb.PRECISION_FP32
