"""Writes a graph anew in strongly typed FP16, but for the nodes that stay FP32.

The precision of every value is that of the node that makes it, so between two FP32 nodes
nothing is rounded. A Cast stands wherever the precision changes, once per value.
"""

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tsnd_builder.export import check_model
from tsnd_builder.onnx_writer import unique_name

_TO = "to"
_ALWAYS_FLOAT = frozenset({"ConstantOfShape"})
"""Operators whose results have a type of their own, whatever they read."""


def to_half(model: onnx.ModelProto, *, float_nodes: Collection[str]) -> onnx.ModelProto:
    """Return the same graph in FP16.

    Args:
        model: A checked model; its nodes have unique names, and the element types of its
            values are known.
        float_nodes: Names of the nodes that compute in FP32.

    Returns:
        A checked model with the inputs and outputs of the given one, types included.
    """
    return check_model(_HalfWriter(model, frozenset(float_nodes)).write())


def float_values(model: onnx.ModelProto) -> frozenset[str]:
    """Return the names of the values, constants included, that are float32."""
    graph = model.graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    named = {info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    return frozenset(named | constants)


class _HalfWriter:
    """One pass over a graph."""

    def __init__(self, model: onnx.ModelProto, float_nodes: frozenset[str]) -> None:
        self._model = model
        self._float_nodes = float_nodes
        self._floats = float_values(model)
        self._constants = {t.name: t for t in model.graph.initializer}
        self._outputs = {info.name for info in model.graph.output} & self._floats
        self._taken = {v for node in model.graph.node for v in (*node.input, *node.output)}
        self._type: dict[str, int] = {info.name: TensorProto.FLOAT for info in model.graph.input}
        self._renamed: dict[str, str] = {}
        self._versions: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def write(self) -> onnx.ModelProto:
        graph = self._model.graph
        for node in graph.node:
            self._add(node)
        for output in graph.output:
            if output.name in self._renamed:
                self._as(output.name, TensorProto.FLOAT)
        typed = onnx.ModelProto()
        typed.CopyFrom(self._model)
        for field in ("node", "initializer", "value_info"):
            typed.graph.ClearField(field)
        typed.graph.node.extend(self._nodes)
        typed.graph.initializer.extend(self._initializers)
        return typed

    def _add(self, node: onnx.NodeProto) -> None:
        """Copy a node, with its inputs in its precision."""
        is_float = node.name in self._float_nodes or node.op_type in _ALWAYS_FLOAT
        precision = TensorProto.FLOAT if is_float else TensorProto.FLOAT16
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._as(value, precision) for value in node.input]
        copy.output[:] = list(self._make(node.output, precision))
        if precision == TensorProto.FLOAT16 and node.op_type == "Cast":
            _retarget(copy)
        self._nodes.append(copy)

    def _make(self, outputs: Collection[str], precision: int) -> Iterator[str]:
        """Note the precision of new values; an output of the graph in FP16 needs a name."""
        for value in outputs:
            if value in self._floats:
                self._type[value] = precision
                if precision == TensorProto.FLOAT16 and value in self._outputs:
                    self._renamed[value] = unique_name(f"{value}/half", self._taken)
            yield self._renamed.get(value, value)

    def _as(self, value: str, precision: int) -> str:
        """Return the name of a value in a precision, and write what makes it so."""
        if value in self._constants:
            return self._constant(value, precision)
        if value not in self._floats or self._type[value] == precision:
            return self._renamed.get(value, value)
        if (value, precision) not in self._versions:
            self._versions[value, precision] = self._cast(value, precision)
        return self._versions[value, precision]

    def _cast(self, value: str, precision: int) -> str:
        """Write a Cast; the FP32 of an output has its name."""
        target = value
        if value not in self._renamed:
            hint = f"{value}/{'float' if precision == TensorProto.FLOAT else 'half'}"
            target = unique_name(hint, self._taken)
        source, name = self._renamed.get(value, value), unique_name(f"{target}/cast", self._taken)
        self._nodes.append(helper.make_node("Cast", [source], [target], name=name, to=precision))
        return target

    def _constant(self, name: str, precision: int) -> str:
        tensor = self._constants[name]
        is_half = name in self._floats and precision == TensorProto.FLOAT16
        key = (name, TensorProto.FLOAT16 if is_half else tensor.data_type)
        if key not in self._versions:
            self._versions[key] = unique_name(f"{name}/half", self._taken) if is_half else name
            if is_half:
                values = numpy_helper.to_array(tensor).astype(np.float16)
                tensor = numpy_helper.from_array(values, self._versions[key])
            self._initializers.append(tensor)
        return self._versions[key]


def _retarget(cast: onnx.NodeProto) -> None:
    """Make a Cast to FP32 one to FP16; others stay."""
    for attribute in cast.attribute:
        if attribute.name == _TO and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
