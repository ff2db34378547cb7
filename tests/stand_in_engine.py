"""An engine that computes with ONNX Runtime, on pointers of the device and in stream order.

It keeps TensorRT's rules and refuses what TensorRT would: shapes outside of the profile,
inputs without a shape or an address, a context enqueued on two streams or freed too early.
"""

import enum
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime

from tests.late_driver import LateDriver
from tsnd_daemon.executors.tensorrt.checks import Gpu
from tsnd_daemon.executors.tensorrt.engine import LoadedEngine
from tsnd_daemon.model_store import Model

TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "UINT8"])

_DTYPES = {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8}

alive: "weakref.WeakSet[StandInEngine]" = weakref.WeakSet()
"""The engines that have not been freed."""


def stand_in_loader(
    driver: LateDriver,
    *,
    profiles: Sequence[tuple[int, int, int]] = ((1, 4, 4),),
    scratch_bytes: int = 64,
    refuse: Callable[[], str] = str,
) -> Callable[[Model, Gpu], LoadedEngine]:
    """Make a loader of engines that run a model's ONNX graph.

    Args:
        driver: What their executions are enqueued in.
        profiles: Smallest, optimal and largest batch of each.
        scratch_bytes: Device memory of each execution context.
        refuse: Called before each execution; says why it is refused, or nothing.
    """

    def load(model: Model, _gpu: Gpu) -> LoadedEngine:
        complaints = Complaints()
        engine = StandInEngine(model.path, profiles, driver, complaints, scratch_bytes)
        engine.refuse = refuse
        return LoadedEngine(engine, complaints.take)

    return load


class Complaints:
    """What the library logs; it outlives its engines."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def refuse(self, what: str) -> bool:
        self._said.append(what)
        return False

    def take(self) -> str:
        said, self._said = self._said, []
        return "; ".join(said)


class StandInEngine:
    def __init__(
        self,
        path: Path,
        profiles: Sequence[tuple[int, int, int]],
        driver: LateDriver,
        complaints: Complaints,
        scratch_bytes: int,
    ) -> None:
        self.cuda = _pycuda()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {str(tensor.name): tensor for tensor in self.session.get_inputs()}
        self.outputs = {str(tensor.name): tensor for tensor in self.session.get_outputs()}
        self.profiles, self.scratch_bytes = profiles, scratch_bytes
        self.driver, self.complaints = driver, complaints
        self.refuse: Callable[[], str] = str
        alive.add(self)

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return _DTYPES[{**self.inputs, **self.outputs}[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = {**self.inputs, **self.outputs}[name].shape
        return tuple(dim if isinstance(dim, int) else -1 for dim in shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        row = self.get_tensor_shape(name)[1:]
        return [(size, *row) for size in self.profiles[profile_index]]

    def create_execution_context(self) -> "StandInContext | None":
        try:
            return StandInContext(self)
        except self.cuda.MemoryError:
            self.complaints.refuse("out of memory")
            return None


class StandInContext:
    def __init__(self, engine: StandInEngine) -> None:
        self._engine = engine
        self._running: list[object] = []
        self._scratch = engine.cuda.mem_alloc(engine.scratch_bytes)
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._stream = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle
        self._profile = profile_index
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.profiles[self._profile]
        if not smallest <= shape[0] <= largest:
            return self._engine.complaints.refuse(f"batch {shape[0]} is outside the profile")
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        refuse = self._engine.complaints.refuse
        if reason := self._engine.refuse():
            return refuse(reason)
        if self._stream not in (0, stream_handle):
            return refuse("enqueued on two streams")
        if set(self._shapes) != set(self._engine.inputs):
            return refuse("an input has no shape")
        if set(self._addresses) != {*self._engine.inputs, *self._engine.outputs}:
            return refuse("a tensor has no address")
        self._stream = stream_handle
        # Shapes and addresses are those of now, memory is that of its turn.
        run = partial(
            _execute, self._engine, dict(self._shapes), dict(self._addresses), self._running
        )
        self._running.append(run)
        self._engine.driver.enqueue(stream_handle, run)
        return True

    def __del__(self) -> None:
        if self._running:
            self._engine.driver.errors.append(RuntimeError("freed while it was executed"))


def _execute(
    engine: StandInEngine,
    shapes: dict[str, tuple[int, ...]],
    addresses: dict[str, int],
    running: list[object],
) -> None:
    feeds = {}
    for name, shape in shapes.items():
        feeds[name] = np.empty(shape, np.uint8)
        engine.cuda.memcpy_dtoh(feeds[name], addresses[name])
    results = engine.session.run(list(engine.outputs), feeds)
    for name, rows in zip(engine.outputs, results, strict=True):
        engine.cuda.memcpy_htod(addresses[name], np.ascontiguousarray(rows))
    running.pop(0)


def _pycuda() -> ModuleType:
    import pycuda.driver  # noqa: PLC0415 - fails without a libcuda

    driver: ModuleType = pycuda.driver
    return driver
