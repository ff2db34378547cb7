"""Counts what a graph computes and moves for one snippet: pure, from the ONNX file.

Operations are those of convolutions and matrix products, a multiplication and an addition each,
however a runtime computes them (Winograd's needs fewer). Bytes are counted layer by layer, as if
each layer read its inputs from memory once and wrote its output once, with element-wise layers
part of the one before: less than that moves where a cache holds what comes in between.
"""

import math
from dataclasses import dataclass

import onnx

_PRODUCTS = {"Conv", "Gemm", "MatMul"}
_MOVERS = {"MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "ReduceMean"}

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Work:
    """What one snippet takes; numbers of values, but for operations.

    Attributes:
        operations: Multiplications and additions.
        weights: Values of weights, which a batch shares.
        activations: Values that layers read and write.
        pixels: Bytes of input.
        results: Values of the outputs, float32.
    """

    operations: int
    weights: int
    activations: int
    pixels: int
    results: int

    def bytes_moved(self, width: int, batch: int) -> float:
        """Return bytes per snippet, layer by layer.

        Args:
            width: Bytes of a weight or an activation.
            batch: Snippets that share the weights.
        """
        return width * (self.activations + self.weights / batch) + self.pixels + 4 * self.results


def count(model: onnx.ModelProto) -> Work:
    """Count a graph whose first dimension is the snippet's.

    Raises:
        ValueError: A shape that is needed cannot be inferred.
    """
    shapes = shapes_of(model)
    operations = weights = activations = 0
    for node in model.graph.node:
        if node.op_type in _PRODUCTS:
            kernel = _shape(shapes, node.input[1])
            written = math.prod(_shape(shapes, node.output[0]))
            operations += 2 * written * _terms(node, kernel)
            weights += math.prod(kernel)
            activations += written + math.prod(_shape(shapes, node.input[0]))
        elif node.op_type in _MOVERS:
            read = node.input if node.op_type == "Concat" else node.input[:1]
            activations += sum(math.prod(_shape(shapes, name)) for name in read)
            activations += math.prod(_shape(shapes, node.output[0]))
    graph = model.graph
    pixels = sum(math.prod(_shape(shapes, value.name)) for value in graph.input)
    results = sum(math.prod(_shape(shapes, value.name)) for value in graph.output)
    return Work(operations, weights, activations, pixels, results)


def shapes_of(model: onnx.ModelProto) -> Shapes:
    """Infer all shapes for a single snippet."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return shapes


def _terms(node: onnx.NodeProto, kernel: tuple[int, ...]) -> int:
    """Return how many products each output value sums."""
    if node.op_type == "Conv":
        return math.prod(kernel[1:])  # its inputs are those of one group already
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return kernel[-1] if transposed else kernel[-2]


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    found = shapes.get(name)
    if found is None or 0 in found:
        raise ValueError(f"the shape of {name!r} cannot be inferred, got {found}")
    return found
