"""The inputs and outputs of networks and engines, in NumPy's words."""

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt

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


Tensors = tuple[tuple[IOTensor, ...], tuple[IOTensor, ...]]
"""Inputs and outputs."""


def network_tensors(network: "tensorrt.INetworkDefinition") -> Tensors:
    """Return the inputs and outputs of a network, as it states them."""
    inputs = tuple(_stated(network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_stated(network.get_output(i)) for i in range(network.num_outputs))
    return inputs, outputs


def engine_tensors(trt: ModuleType, engine: "tensorrt.ICudaEngine") -> Tensors:
    """Return the inputs and outputs of an engine."""
    found: dict[bool, list[IOTensor]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        tensor = IOTensor(
            name, _dtype(engine.get_tensor_dtype(name)), tuple(engine.get_tensor_shape(name))
        )
        found[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(tensor)
    return tuple(found[True]), tuple(found[False])


def agree(stated: Tensors, found: Tensors) -> bool:
    """Say whether both have the same tensors, in any order."""
    return all(set(a) == set(b) for a, b in zip(stated, found, strict=True))


def _stated(tensor: "tensorrt.ITensor") -> IOTensor:
    return IOTensor(tensor.name, _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(dtype: "tensorrt.DataType") -> str:
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())
