"""Between the wire's messages and plain values: pure functions, shared by both clients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client.errors import (
    BadReply,
    CallFailed,
    ClientError,
    DaemonUnavailable,
    FrameMismatch,
    ModelNotFound,
    SnippetRejected,
)


class Modality(StrEnum):
    """What a model's snippets are made of."""

    RGB = "rgb"
    FLOW = "flow"


_MODALITIES = {
    model_pb2.MODALITY_RGB: Modality.RGB,
    model_pb2.MODALITY_FLOW: Modality.FLOW,
}
_WIRE_MODALITIES = {modality: number for number, modality in _MODALITIES.items()}

# Tensor.data is little-endian, whatever this machine is.
_WIRE_DTYPES: Mapping[int, np.dtype[Any]] = {
    model_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    model_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Statuses of a Score call that speak about its snippet; the others speak about the call.
_REJECTIONS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    }
)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One line of the daemon's list of models."""

    name: str
    version: int
    modality: Modality
    classes: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model takes and returns.

    Attributes:
        name: Name of the model.
        version: Version being served.
        modality: What its snippets are made of.
        frame_height: Height of the frames or flow planes to send, pixels.
        frame_width: Width of the frames or flow planes to send, pixels.
        stack_depth: Flow fields per snippet; 0 for rgb.
        crops_per_snippet: Crops that the model scores and averages per snippet.
        labels: Class names, in the order of the scores.
        max_batch_size: Most snippets that the daemon runs in one execution.
    """

    name: str
    version: int
    modality: Modality
    frame_height: int
    frame_width: int
    stack_depth: int
    crops_per_snippet: int
    labels: tuple[str, ...]
    max_batch_size: int

    @property
    def snippet_shape(self) -> tuple[int, int, int]:
        """Shape of a snippet's pixels: rgb [H, W, 3], flow [2 * stack_depth, H, W]."""
        if self.modality is Modality.FLOW:
            return (2 * self.stack_depth, self.frame_height, self.frame_width)
        return (self.frame_height, self.frame_width, 3)


@dataclass(frozen=True, slots=True, eq=False)
class SnippetScores:
    """What the daemon returned for one snippet. All arrays are read-only.

    Attributes:
        snippet_id: The id as it was sent.
        scores: float32 [classes], before softmax.
        features: float32 [D].
        outputs: Every output by name, `scores` and `features` among them.
        queue_ns: Time from acceptance to the start of the execution, nanoseconds.
        compute_ns: Duration of the execution, nanoseconds.
        batch_size: Snippets in that execution.
    """

    snippet_id: str
    scores: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    outputs: Mapping[str, npt.NDArray[Any]]
    queue_ns: int
    compute_ns: int
    batch_size: int


StreamResult = SnippetScores | SnippetRejected


def to_model_summaries(response: snippets_pb2.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """Convert the list of models.

    Raises:
        BadReply: A model's modality is none that this client knows.
    """
    return tuple(
        ModelSummary(
            name=model.name,
            version=model.version,
            modality=_to_modality(model.name, model.modality),
            classes=model.classes,
        )
        for model in response.models
    )


def to_model_info(response: snippets_pb2.GetModelResponse) -> ModelInfo:
    """Convert the description of one model.

    Raises:
        BadReply: The model's modality is none that this client knows.
    """
    manifest = response.manifest
    return ModelInfo(
        name=manifest.name,
        version=manifest.version,
        modality=_to_modality(manifest.name, manifest.modality),
        frame_height=manifest.preprocessing.frame_height,
        frame_width=manifest.preprocessing.frame_width,
        stack_depth=manifest.preprocessing.stack_depth,
        crops_per_snippet=manifest.preprocessing.crops_per_snippet,
        labels=tuple(manifest.labels),
        max_batch_size=response.max_batch_size,
    )


def to_request(
    model: ModelInfo, snippet_id: str, pixels: npt.NDArray[np.uint8]
) -> snippets_pb2.ScoreRequest:
    """Make the request that scores one snippet.

    Args:
        model: The model to score it with.
        snippet_id: The caller's name for it, at most 256 characters.
        pixels: uint8 of `model.snippet_shape`, in any memory layout. rgb: BGR rows.
            flow: planes x0, y0, x1, y1, ..., where 128 is no motion.

    Raises:
        FrameMismatch: The pixels have another shape or dtype.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.shape != model.snippet_shape:
        raise FrameMismatch(_describe_mismatch(model, snippet_id, pixels))
    return snippets_pb2.ScoreRequest(
        model=model.name,
        version=model.version,
        snippet=snippets_pb2.Snippet(
            id=snippet_id,
            modality=_WIRE_MODALITIES[model.modality],
            shape=pixels.shape,
            raw=pixels.tobytes(),
        ),
    )


def from_response(
    model: ModelInfo, snippet_id: str, response: snippets_pb2.ScoreResponse
) -> SnippetScores:
    """Convert the outputs for one snippet.

    Args:
        model: The model that the snippet was sent to.
        snippet_id: The id that it was sent with.
        response: The daemon's answer.

    Raises:
        BadReply: The answer is for another snippet, or its outputs are not the model's.
    """
    _require_id(snippet_id, response.snippet_id)
    outputs = {tensor.name: to_array(tensor) for tensor in response.outputs}
    missing = {"scores", "features"} - outputs.keys()
    if missing:
        raise BadReply(f"the reply for snippet {snippet_id!r} lacks {', '.join(sorted(missing))}")
    if outputs["scores"].shape != (len(model.labels),):
        raise BadReply(
            f"the scores of snippet {snippet_id!r} have shape {list(outputs['scores'].shape)}, "
            f"but model {model.name!r} has {len(model.labels)} labels"
        )
    return SnippetScores(
        snippet_id=snippet_id,
        scores=outputs["scores"],
        features=outputs["features"],
        outputs=MappingProxyType(outputs),
        queue_ns=response.timing.queue_ns,
        compute_ns=response.timing.compute_ns,
        batch_size=response.timing.batch_size,
    )


def from_stream_response(
    model: ModelInfo, snippet_id: str, reply: snippets_pb2.ScoreStreamResponse
) -> StreamResult:
    """Convert one reply of a stream; see `from_response`.

    Returns:
        The snippet's scores, or the reason why there are none.

    Raises:
        BadReply: The reply is empty, or not one for this snippet and model.
    """
    match reply.WhichOneof("result"):
        case "response":
            return from_response(model, snippet_id, reply.response)
        case "error":
            _require_id(snippet_id, reply.error.snippet_id)
            code = _STATUS_CODES.get(reply.error.code, grpc.StatusCode.UNKNOWN)
            return SnippetRejected(snippet_id, code, reply.error.message)
        case None:
            raise BadReply(f"the reply for snippet {snippet_id!r} has neither scores nor an error")


def from_status(
    error: grpc.RpcError, *, target: str, model: str = "", snippet_id: str | None = None
) -> ClientError:
    """Convert the status that ended a call.

    Args:
        error: What gRPC raised, from either of its APIs.
        target: Where the call went, HOST:PORT.
        model: Name of the model that the call was about, if any.
        snippet_id: Id of the snippet that the call was about, if any.
    """
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return DaemonUnavailable(target, details)
    if code is grpc.StatusCode.NOT_FOUND and model:
        return ModelNotFound(model, target, details)
    if code in _REJECTIONS and snippet_id is not None:
        return SnippetRejected(snippet_id, code, details)
    return CallFailed(code, details)


def to_array(tensor: snippets_pb2.Tensor) -> npt.NDArray[Any]:
    """Convert a tensor to a read-only array in this machine's byte order.

    Raises:
        BadReply: The data type is unknown, or the data does not fill the shape.
    """
    wire_dtype = _WIRE_DTYPES.get(tensor.data_type)
    if wire_dtype is None:
        raise BadReply(f"output {tensor.name!r} has the unknown data type {tensor.data_type}")
    expected_bytes = math.prod(tensor.shape) * wire_dtype.itemsize
    if len(tensor.data) != expected_bytes:
        raise BadReply(
            f"output {tensor.name!r} of shape {list(tensor.shape)} has {len(tensor.data)} bytes, "
            f"expected {expected_bytes}"
        )
    array = np.frombuffer(tensor.data, wire_dtype).reshape(tuple(tensor.shape))
    array = array.astype(wire_dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _to_modality(model: str, number: model_pb2.Modality.ValueType) -> Modality:
    try:
        return _MODALITIES[number]
    except KeyError:
        raise BadReply(
            f"model {model!r} has modality {number}, which this client does not know: upgrade it"
        ) from None


def _require_id(sent: str, received: str) -> None:
    if received != sent:
        raise BadReply(
            f"expected the reply for snippet {sent!r}, got one for {received!r}: "
            "the daemon answers out of order or changes ids"
        )


def _describe_mismatch(model: ModelInfo, snippet_id: str, pixels: npt.NDArray[Any]) -> str:
    if model.modality is Modality.FLOW:
        remedy = f"Stack {model.stack_depth} flow fields as planes x0, y0, x1, y1, ..."
    else:
        remedy = f"Send BGR frames resized to {model.frame_width}x{model.frame_height}."
    return (
        f"snippet {snippet_id!r}: model {model.name!r} takes uint8 {list(model.snippet_shape)}, "
        f"got {pixels.dtype} {list(pixels.shape)}. {remedy}"
    )
