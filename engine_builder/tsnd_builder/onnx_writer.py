"""Collects the nodes and constants of an ONNX graph while converters walk a net."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Attribute = int | float | str | list[int] | list[float] | onnx.TensorProto


class NodeWriter:
    """An ONNX graph under construction.

    Attributes:
        nodes: The nodes so far, in topological order.
        initializers: The constants so far.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """Start an empty graph.

        Args:
            reserved: Names of values that the caller will write; nothing else gets them.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._node_names: set[str] = set()
        self._value_names = set(reserved)

    def fresh(self, hint: str) -> str:
        """Return a value name nobody else has, equal to `hint` when that is free."""
        return unique_name(hint, self._value_names)

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        output: str | Sequence[str],
        *,
        name: str,
        **attributes: Attribute,
    ) -> str:
        """Append a node and return the name of its first output.

        Args:
            op_type: ONNX operator.
            inputs: Names of values and constants.
            output: Name of the value it makes, or of each of them.
            name: Name of the node, by custom the Caffe layer's; made unique if need be.
            **attributes: The operator's attributes.
        """
        unique = unique_name(name, self._node_names)
        outputs = [output] if isinstance(output, str) else list(output)
        node = helper.make_node(op_type, list(inputs), outputs, name=unique)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(node)
        return outputs[0]

    def chain(
        self, source: str, steps: Sequence[tuple[str, str]], output: str, *, name: str
    ) -> str:
        """Append binary operators one behind the other; none of them is an Identity.

        Args:
            source: What the first one reads.
            steps: Operator and second operand of each.
            output: Name of the value that the last one makes.
            name: Name of the nodes.
        """
        if not steps:
            return self.node("Identity", [source], output, name=name)
        for op_type, operand in steps[:-1]:
            source = self.node(op_type, [source, operand], self.fresh(f"{output}/part"), name=name)
        op_type, operand = steps[-1]
        return self.node(op_type, [source, operand], output, name=name)

    def constant(self, name: str, array: npt.ArrayLike) -> str:
        """Add a constant and return its name, made unique if need be."""
        unique = self.fresh(name)
        self.initializers.append(numpy_helper.from_array(np.asarray(array), unique))
        return unique

    def floats(self, name: str, array: npt.ArrayLike) -> str:
        """Add a float32 constant, whatever the precision it was computed in."""
        return self.constant(name, np.asarray(array, dtype=np.float32))

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a one-axis int64 constant, as shapes, axes and indices must be."""
        return self.constant(name, np.asarray(values, dtype=np.int64))


def unique_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name.2`, `name.3` ... when it is taken, and take it."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}.{count}"
    taken.add(candidate)
    return candidate
