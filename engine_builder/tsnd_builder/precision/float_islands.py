"""Chooses the nodes of a graph that stay FP32 when the rest becomes FP16, with reasons."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx
from onnx import numpy_helper

from tsnd_builder.inference import Floats, Frames, open_session, run_batches
from tsnd_builder.precision.half import float_values, to_half
from tsnd_builder.precision.ranges import largest_values
from tsnd_builder.precision.rounding import with_roundings
from tsnd_builder.serving_graph import NETWORK

BEHIND_NETWORK = "fuses crops behind the network"
UNSUITED = "operator that FP16 does not suit"
OUT_OF_RANGE = "values outside the range of FP16"
EARLY = "early, kept for accuracy"

_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_HEADROOM = 4.0
"""Videos may drive a value further than the frames on which it was measured."""

_SUITED = frozenset(
    {"Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten"}
    | {"Gather", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MatMul"}
    | {"Max", "MaxPool", "Mul", "PRelu", "Pad", "Relu", "Reshape", "Sigmoid", "Slice", "Split"}
    | {"Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze"}
)
"""Operators that lose little more than a rounding. Others divide, square, exponentiate or
take logarithms."""

_T = TypeVar("_T")

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MULTIPLIED = _WEIGHTED | {"Mul"}
"""Operators whose second operand loses its precision when all of it is subnormal."""


def choose_float_nodes(
    model: onnx.ModelProto, probes: Sequence[Frames], *, max_error: float
) -> dict[str, str]:
    """Choose the nodes that stay FP32.

    These are the fusion of crops behind the network, operators that FP16 does not suit,
    nodes whose values or weights leave its range, and then as many of the first layers as
    the error demands: a rounding early in a deep net is amplified by all that follows.

    Args:
        model: The serving graph in FP32.
        probes: Sets of snippets to measure with.
        max_error: Largest error allowed in an output on any of the sets, relative to its
            largest value there.

    Returns:
        Why each of them stays, by its name.
    """
    chosen = {**_out_of_range(model, probes), **_unsuited(model), **_behind_network(model)}
    expected = _results(model, probes)
    candidates = [{**dict.fromkeys(prefix, EARLY), **chosen} for prefix in _prefixes(model)]

    def is_exact_enough(float_nodes: dict[str, str]) -> bool:
        found = _results(with_roundings(to_half(model, float_nodes=float_nodes)), probes)
        return _largest_error(found, expected) <= max_error

    return _first(candidates, is_exact_enough)


def _behind_network(model: onnx.ModelProto) -> dict[str, str]:
    names = [node.name for node in model.graph.node]
    last = max((i for i, name in enumerate(names) if name.startswith(NETWORK)), default=len(names))
    return dict.fromkeys(names[last + 1 :], BEHIND_NETWORK)


def _unsuited(model: onnx.ModelProto) -> dict[str, str]:
    floats = float_values(model)
    return {
        node.name: UNSUITED
        for node in model.graph.node
        if node.op_type not in _SUITED and floats.intersection((*node.input, *node.output))
    }


def _out_of_range(model: onnx.ModelProto, probes: Sequence[Frames]) -> dict[str, str]:
    largest, constants = largest_values(model, probes), _largest_constants(model)
    sizes = {info.name: _plane_size(info) for info in model.graph.value_info}
    return {
        node.name: OUT_OF_RANGE
        for node in model.graph.node
        if any(largest.get(v, 0.0) * _terms(node, sizes) * _HEADROOM > _LARGEST for v in node.input)
        or any(largest.get(v, 0.0) * _HEADROOM > _LARGEST for v in node.output)
        or any(constants.get(v, 0.0) > _LARGEST for v in node.input)
        or (
            node.op_type in _MULTIPLIED
            and any(0.0 < constants.get(v, 0.0) < _SMALLEST for v in node.input[:2])
        )
    }


def _largest_constants(model: onnx.ModelProto) -> dict[str, float]:
    """Return the largest magnitude of every float constant, such as weights."""
    return {
        t.name: float(np.abs(numpy_helper.to_array(t)).max(initial=0.0))
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT
    }


def _plane_size(info: onnx.ValueInfoProto) -> int:
    """Return how many values a channel has."""
    return math.prod(dim.dim_value for dim in info.type.tensor_type.shape.dim[2:])


def _terms(node: onnx.NodeProto, sizes: Mapping[str, int]) -> int:
    """Return how many values an average sums up before it divides."""
    if node.op_type == "GlobalAveragePool":
        return sizes.get(node.input[0], 1)
    window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), [1])
    return math.prod(window) if node.op_type == "AveragePool" else 1


def _prefixes(model: onnx.ModelProto) -> Iterator[list[str]]:
    """Yield the names of no node, of those before layer 1, 2, 3, 4, 6, 9, ..., and of all."""
    nodes = list(model.graph.node)
    layers = [i for i, node in enumerate(nodes) if node.op_type in _WEIGHTED]
    yield []
    count = 1
    while count < len(layers):
        yield [node.name for node in nodes[: layers[count]]]
        count = max(count + 1, count * 3 // 2)
    yield [node.name for node in nodes]


def _first(candidates: Sequence[_T], is_good: Callable[[_T], bool]) -> _T:
    """Find the first good one by halving, where all after a good one are good too.

    The first is tried first, for it mostly is; the last is good without a try.
    """
    if is_good(candidates[0]):
        return candidates[0]
    index = bisect_left(candidates, True, lo=1, hi=len(candidates) - 1, key=is_good)
    return candidates[index]


def _results(model: onnx.ModelProto, probes: Sequence[Frames]) -> list[Floats]:
    """Return each output on each set of frames."""
    session = open_session(model)
    outputs = [output.name for output in model.graph.output]
    return [rows for frames in probes for rows in run_batches(session, outputs, frames)]


def _largest_error(found: Sequence[Floats], expected: Sequence[Floats]) -> float:
    """Return the largest error relative to the largest value; infinite if one is no number."""
    errors = [
        float(np.abs(f - e).max()) / (float(np.abs(e).max()) or 1.0)
        for f, e in zip(found, expected, strict=True)
    ]
    return max((e if np.isfinite(e) else np.inf for e in errors), default=0.0)
