"""Reads an ONNX graph into a network of TensorRT, strongly typed: the graph's types are kept."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsnd_builder.errors import PlanError
from tsnd_builder.plans.library import Library
from tsnd_builder.plans.tensors import IOTensor, Tensors, network_tensors
from tsnd_builder.plans.words import parser_complaint, sentences

if TYPE_CHECKING:
    import tensorrt

_BATCH = -1


@dataclass(frozen=True, slots=True)
class Network:
    """A parsed graph, with what owns its memory."""

    builder: "tensorrt.Builder"
    definition: "tensorrt.INetworkDefinition"
    parser: "tensorrt.OnnxParser"
    tensors: Tensors

    @property
    def inputs(self) -> tuple[IOTensor, ...]:
        """What it takes."""
        return self.tensors[0]

    @property
    def outputs(self) -> tuple[IOTensor, ...]:
        """What it gives."""
        return self.tensors[1]


def parse(library: Library, onnx_model: bytes) -> Network:
    """Read a graph. Polygraphy's own parsing prints the errors and drops them.

    Raises:
        PlanError: When the library does not take it, with its nodes and reasons; when its
            inputs are not an open batch axis in front of fixed ones.
    """
    trt = library.trt
    builder: tensorrt.Builder = library.start(trt.Builder)
    # To be asked for in TensorRT 10; the only way in TensorRT 11.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: tensorrt.INetworkDefinition = builder.create_network(flags)
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, library.log.logger)
    if not parser.parse(onnx_model):
        raise PlanError(
            sentences(f"{library.title} does not take this graph", _complaints(parser))
            + " Serve it with ONNX Runtime, or change these nodes."
        )
    tensors = network_tensors(network)
    _check(tensors)
    return Network(builder, network, parser, tensors)


def _complaints(parser: "tensorrt.OnnxParser") -> list[str]:
    complaints = []
    for index in range(parser.num_errors):
        error: tensorrt.ParserError = parser.get_error(index)
        complaints.append(parser_complaint(error.node_name(), error.node_operator(), error.desc()))
    return complaints


def _check(tensors: Tensors) -> None:
    if not all(tensors):
        raise PlanError("the graph has no inputs or no outputs; is it an ONNX model?")
    for tensor in tensors[0]:
        if tensor.shape[:1] != (_BATCH,) or _BATCH in tensor.shape[1:]:
            raise PlanError(
                f"the input {tensor.name!r} has the shape {list(tensor.shape)}; a plan needs an "
                "open batch axis (-1) in front, and all others fixed."
            )
