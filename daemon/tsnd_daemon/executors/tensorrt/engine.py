"""What the executor uses of an engine, and what it reads from it.

The protocols have TensorRT's own names and signatures, so that its classes satisfy them as
they are; tests have an engine of their own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.tensorrt.profiles import Profile
from tsnd_daemon.executors.tensors import check_tensors
from tsnd_daemon.model_store import Model


class Named(Protocol):
    """A value of one of TensorRT's enums; their numbers differ between versions."""

    @property
    def name(self) -> str:
        """Such as FLOAT."""
        ...


class ExecutionContext(Protocol):
    """What is used of TensorRT's IExecutionContext; False means that it logged why not."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int, /) -> bool:
        """Change the profile; input shapes have to be set again."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool:
        """State the shape of the next executions' input."""
        ...

    def set_tensor_address(self, name: str, memory: int, /) -> bool:
        """State where an input or output lies on the device."""
        ...

    def execute_async_v3(self, stream_handle: int, /) -> bool:
        """Enqueue an execution."""
        ...


class Engine(Protocol):
    """What is used of TensorRT's ICudaEngine."""

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs together."""
        ...

    @property
    def num_optimization_profiles(self) -> int:
        """At least 1."""
        ...

    def get_tensor_name(self, index: int, /) -> str:
        """Return the name of an input or output."""
        ...

    def get_tensor_mode(self, name: str, /) -> Named:
        """Return INPUT or OUTPUT."""
        ...

    def get_tensor_dtype(self, name: str, /) -> Named:
        """Return its element type, such as FLOAT."""
        ...

    def get_tensor_shape(self, name: str, /) -> Iterable[int]:
        """Return its shape; -1 is the batch."""
        ...

    def get_tensor_profile_shape(self, name: str, profile_index: int, /) -> Sequence[Iterable[int]]:
        """Return the smallest, the optimal and the largest shape of an input."""
        ...

    def create_execution_context(self) -> ExecutionContext | None:
        """Make a context, with device memory of its own; None when there is no room."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine, and what its library says about it.

    Attributes:
        engine: Ready to make contexts.
        complaints: Returns what the library logged as errors in this thread since the last
            call, on one line.
    """

    engine: Engine
    complaints: Callable[[], str]


def check_engine(model: Model, engine: Engine) -> None:
    """Refuse an engine with other inputs or outputs than its manifest promises.

    Raises:
        PackageError: When names, shapes or element types differ.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    shapes: dict[str, dict[str, list[int]]] = {"INPUT": {}, "OUTPUT": {}}
    for name in names:
        shapes[engine.get_tensor_mode(name).name][name] = list(engine.get_tensor_shape(name))[1:]
    check_tensors(model, inputs=shapes["INPUT"], outputs=shapes["OUTPUT"])
    promised = {model.manifest.input.name: "UINT8"}
    promised |= {output.name: "FLOAT" for output in model.manifest.outputs}
    found = {name: engine.get_tensor_dtype(name).name for name in names}
    if found != promised:
        raise PackageError(
            f"{model.path} has tensors of the types {found}, expected {promised}. Run tsn-build "
            "plan again."
        )


def read_profiles(engine: Engine, source: str) -> tuple[Profile, ...]:
    """Return the batch sizes of each optimization profile.

    Args:
        engine: With one input.
        source: Its name.
    """
    shapes = (
        engine.get_tensor_profile_shape(source, index)
        for index in range(engine.num_optimization_profiles)
    )
    return tuple(
        Profile(index, *(next(iter(shape)) for shape in bounds))
        for index, bounds in enumerate(shapes)
    )
