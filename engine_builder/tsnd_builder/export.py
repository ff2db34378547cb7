"""Turns a typed graph into a checked ONNX model: walk, convert, name, check."""

import difflib
from collections.abc import Sequence
from importlib.metadata import version

import onnx
from onnx import TensorProto, helper

from tsnd_builder.caffe.graph import Graph, Shape
from tsnd_builder.errors import ExportError, GraphError, LayerError, SelectionError
from tsnd_builder.folding import fold_affine
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.onnx_writer import NodeWriter

OPSET = 17
IR_VERSION = 8
"""What opset 17 was released with, so that runtimes of its time read the file too."""


def export_onnx(
    graph: Graph, *, outputs: Sequence[str] = (), keep_bn: bool = False
) -> onnx.ModelProto:
    """Convert a net.

    Args:
        graph: The net, as `load_graph` returns it.
        outputs: Blobs to return; none means the net's own outputs.
        keep_bn: Write batch normalization as nodes of its own instead of folding it.

    Returns:
        A model with float32 inputs and outputs named after the Caffe blobs and an open
        batch axis, which has passed the checker and strict shape inference.

    Raises:
        SelectionError: When an output is not a blob of the net.
        LayerError: When a layer cannot be converted.
        ExportError: When the finished model fails a check.
    """
    wanted = _outputs(graph, outputs)
    writer = NodeWriter(_reserved(graph))
    try:
        _write_layers(graph if keep_bn else fold_affine(graph, keep=wanted), wanted, writer)
    except GraphError as err:
        raise type(err)(f"{graph.source}: {err}") from err
    for blob in wanted:
        value = graph.blobs[blob].name
        if value != blob:  # a blob that only another layer's result, such as Dropout's top
            writer.node("Identity", [value], blob, name=f"{blob}/output")
    model = make_model(
        writer,
        name=graph.name or graph.source.stem,
        inputs=[_tensor(v.name, TensorProto.FLOAT, v.shape) for v in graph.inputs],
        outputs=[_tensor(b, TensorProto.FLOAT, graph.blobs[b].shape) for b in wanted],
    )
    return check_model(model)


def _write_layers(graph: Graph, wanted: tuple[str, ...], writer: NodeWriter) -> None:
    for layer in graph.needed_for(wanted):
        convert = LAYER_SPECS[layer.type].convert
        if convert is None:
            raise LayerError(f"layer {layer.name!r} of type {layer.type} has no ONNX form.")
        convert(layer, writer)


def make_model(
    writer: NodeWriter,
    *,
    name: str,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Wrap the nodes of a writer into a model of this project's opset."""
    graph = helper.make_graph(
        writer.nodes, name, list(inputs), list(outputs), initializer=writer.initializers
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tsnd",
        producer_version=version("tsnd"),
    )


def check_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Run onnx.checker and strict shape inference.

    Returns:
        The model with the shapes of its inner values filled in.

    Raises:
        ExportError: When either objects, which is a fault of the builder.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as err:
        raise ExportError(
            f"the exported graph {model.graph.name!r} failed its check: {err}. This is a bug of "
            "tsn-build; please report it with the prototxt."
        ) from err


def _outputs(graph: Graph, outputs: Sequence[str]) -> tuple[str, ...]:
    for blob in outputs:
        if blob not in graph.blobs:
            near = difflib.get_close_matches(blob, graph.blobs, n=3) or list(graph.outputs)
            raise SelectionError(
                f"{graph.source} has no blob {blob!r}. Did you mean {' or '.join(near)}?"
            )
    wanted = tuple(dict.fromkeys(outputs)) or graph.outputs
    if not wanted:
        raise SelectionError(
            f"{graph.source} has no outputs: every blob is read by a layer, such as Silence. Name "
            "some with --outputs."
        )
    for blob in wanted:
        if blob in {value.name for value in graph.inputs}:
            raise SelectionError(
                f"the blob {blob!r} is an input of {graph.source} and cannot also be an output."
            )
    return wanted


def _reserved(graph: Graph) -> set[str]:
    """Names that belong to Caffe: every blob, and every value of the graph."""
    values = {top.name for layer in graph.layers for top in layer.tops}
    return values | set(graph.blobs) | {value.name for value in graph.inputs}


def _tensor(name: str, element_type: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, list(shape))
