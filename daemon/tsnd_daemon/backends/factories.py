"""Loads what was chosen, and says how to make its executors.

Blocking: called in a worker thread. What instances of a model can share is loaded here,
once; what belongs to one thread is made in that thread, by the factory.
"""

from functools import partial

from tsnd_daemon.backends.machine import Machine, this_machine
from tsnd_daemon.executors.base import ExecutorFactory
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor
from tsnd_daemon.executors.onnxruntime_gpu import OnnxRuntimeGpuExecutor, open_gpu_session
from tsnd_daemon.executors.openvino import OpenVinoExecutor, compile_model
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.executors.tensorrt.executor import TensorRtExecutor
from tsnd_daemon.executors.tuning import tune
from tsnd_daemon.model_store import Model
from tsnd_daemon.settings import ExecutionOptions


def executor_factories(
    model: Model, options: ExecutionOptions, machine: Machine | None = None
) -> list[ExecutorFactory]:
    """Load a model and return a factory for each of its executors.

    Args:
        model: As chosen; see tsnd_daemon.backends.choice.
        options: On a GPU there is one executor for each device and instance. ONNX Runtime
            on a CPU has as many as instances, measured when that is 0. OpenVINO has one,
            and as many streams as instances.
        machine: Where it runs; None asks.

    Returns:
        At least one. Each is called once, in a thread of its own.

    Raises:
        PackageError: When the model cannot be loaded.
        SettingsError: When what it needs is not here.
    """
    machine = machine or this_machine()
    match model.backend:
        case "tensorrt" | "tensorrt-rtx":
            return _tensorrt(model, options)
        case "cuda" | "nv-tensorrt-rtx":
            return _onnxruntime_gpu(model, options)
        case "openvino":
            return _openvino(model, options, machine)
        case "onnxruntime":
            return _onnxruntime(model, options, machine)
        case "synthetic":
            return [partial(SyntheticExecutor, model, max_batch_size=options.max_batch_size)]
        case "auto":
            raise ValueError("auto is no backend; choose() names one")


def _tensorrt(model: Model, options: ExecutionOptions) -> list[ExecutorFactory]:
    return [
        partial(
            TensorRtExecutor,
            model,
            max_batch_size=options.max_batch_size,
            device=device,
            slots=options.slots,
        )
        for device in options.devices
        for _ in range(options.instances or 1)
    ]


def _onnxruntime_gpu(model: Model, options: ExecutionOptions) -> list[ExecutorFactory]:
    size = options.max_batch_size
    sessions = {
        device: open_gpu_session(model, device=device, max_batch_size=size)
        for device in options.devices
    }
    return [
        partial(
            OnnxRuntimeGpuExecutor,
            model,
            session,
            max_batch_size=size,
            slots=options.slots,
            device=device,
        )
        for device, session in sessions.items()
        for _ in range(options.instances or 1)
    ]


def _openvino(model: Model, options: ExecutionOptions, machine: Machine) -> list[ExecutorFactory]:
    compiled = compile_model(model, options, cpus=machine.cpus, cpu_features=machine.cpu_features)
    return [partial(OpenVinoExecutor, model, compiled, max_batch_size=options.max_batch_size)]


def _onnxruntime(
    model: Model, options: ExecutionOptions, machine: Machine
) -> list[ExecutorFactory]:
    session, setup = tune(model, options, machine.cpus)
    factory = partial(OnnxRuntimeExecutor, model, session, max_batch_size=options.max_batch_size)
    return [factory] * setup.instances
