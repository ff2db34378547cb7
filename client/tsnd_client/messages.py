"""Between the messages of scoring and plain values: pure functions, shared by both clients."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

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
from tsnd_client.jpeg import Jpeg
from tsnd_client.model_info import WIRE_MODALITIES, Modality, ModelInfo
from tsnd_client.reply import EVERYTHING, Reply, to_reply_options
from tsnd_client.retry_after import from_duration, from_trailing_metadata
from tsnd_client.shared_memory import SnippetMemory
from tsnd_client.urgency import Urgency

# Tensor.data is little-endian, whatever this machine is.
_WIRE_DTYPES: Mapping[int, np.dtype[Any]] = {
    model_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    model_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    model_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
}

_EMPTY: npt.NDArray[np.floating] = np.empty(0, np.float32)
_EMPTY.flags.writeable = False

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
class ClassScore:
    """One class, and how a snippet scored for it.

    Attributes:
        index: Its place in the model's labels.
        label: Its label.
        score: Its score, before softmax.
        probability: Its score after softmax over all classes.
    """

    index: int
    label: str
    score: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class SnippetScores:
    """What the daemon returned for one snippet. All arrays are read-only.

    Attributes:
        snippet_id: The id as it was sent.
        model: Name of the model that scored it.
        version: Version of that model; it may change within a stream when a new one is
            rolled out, unless the version was pinned.
        scores: float32 [classes], before softmax; float16 or empty where `Reply` says so.
        features: float32 [D]; likewise.
        outputs: Every output that was asked for, by name.
        queue_ns: Time from acceptance to the start of the execution, nanoseconds.
        compute_ns: Duration of the execution, nanoseconds.
        batch_size: Snippets in that execution.
        top: The best classes, best first; as many as `Reply.top_k`.
    """

    snippet_id: str
    model: str
    version: int
    scores: npt.NDArray[np.floating]
    features: npt.NDArray[np.floating]
    outputs: Mapping[str, npt.NDArray[Any]]
    queue_ns: int
    compute_ns: int
    batch_size: int
    top: tuple[ClassScore, ...] = ()


StreamResult = SnippetScores | SnippetRejected


def new_request(
    model: ModelInfo, urgency: Urgency, reply: Reply = EVERYTHING
) -> snippets_pb2.ScoreRequest:
    """Make a request without snippets yet; `add_snippet` adds them.

    The newest version of the model is asked for unless one is pinned, so that snippets
    are still scored after a new version has taken the place of the one described.
    """
    return snippets_pb2.ScoreRequest(
        model=model.address,
        version=model.pinned_version,
        priority=urgency.priority,
        timeout_us=urgency.timeout_us,
        reply=None if reply is EVERYTHING else to_reply_options(reply),
    )


def add_snippet(
    request: snippets_pb2.ScoreRequest,
    model: ModelInfo,
    snippet_id: str,
    pixels: npt.NDArray[np.uint8] | Jpeg,
    *,
    memory: SnippetMemory | None = None,
) -> None:
    """Add one snippet to a request, which stays as it was when that fails.

    Args:
        request: The request; snippets are made in it because messages copy their parts.
        model: The model to score the snippet with.
        snippet_id: The caller's name for it, at most 256 characters.
        pixels: uint8 of `model.snippet_shape`, in any memory layout. rgb: BGR rows.
            flow: planes x0, y0, x1, y1, ..., where 128 is no motion. Or JPEG files of them.
        memory: Where the daemon reads the pixels of arrays; None sends them.

    Raises:
        FrameMismatch: The pixels have another shape or dtype.
    """
    if isinstance(pixels, Jpeg):
        request.snippets.add(
            id=snippet_id,
            modality=WIRE_MODALITIES[model.modality],
            jpeg=snippets_pb2.JpegImages(images=pixels.images),
        )
        return
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.shape != model.snippet_shape:
        raise FrameMismatch(_describe_mismatch(model, snippet_id, pixels))
    snippet = request.snippets.add(
        id=snippet_id, modality=WIRE_MODALITIES[model.modality], shape=pixels.shape
    )
    if memory is None:
        snippet.raw = pixels.tobytes()
    else:
        snippet.shared.offset = memory.put(pixels)


def from_response(
    model: ModelInfo,
    snippet_id: str,
    response: snippets_pb2.ScoreResponse,
    reply: Reply = EVERYTHING,
) -> SnippetScores:
    """Convert the outputs for one snippet.

    Args:
        model: The model that the snippet was sent to.
        snippet_id: The id that it was sent with.
        response: The daemon's answer.
        reply: What was asked for.

    Raises:
        BadReply: The answer is for another snippet or from another model, or its outputs
            do not fit the model's labels or are not what was asked for.
    """
    _require_id(snippet_id, response.snippet_id)
    _require_model(model, response)
    outputs = {tensor.name: to_array(tensor) for tensor in response.outputs}
    wanted = set(reply.outputs) or {name for name in ("scores", "features") if reply.has(name)}
    missing = wanted - outputs.keys()
    if missing:
        raise BadReply(f"the reply for snippet {snippet_id!r} lacks {', '.join(sorted(missing))}")
    if len(response.top) != reply.top_k:
        raise BadReply(
            f"the reply for snippet {snippet_id!r} names {len(response.top)} classes, asked for "
            f"{reply.top_k}"
        )
    if "scores" in outputs and outputs["scores"].shape != (len(model.labels),):
        raise BadReply(
            f"the scores of snippet {snippet_id!r} have shape {list(outputs['scores'].shape)}, "
            f"but model {model.name!r} version {model.version} has {len(model.labels)} labels; "
            f"model {response.model!r} version {response.version} scored it. If the daemon has "
            "changed the model, ask for its description with a new client."
        )
    return SnippetScores(
        snippet_id=snippet_id,
        model=response.model,
        version=response.version,
        scores=outputs.get("scores", _EMPTY),
        features=outputs.get("features", _EMPTY),
        outputs=MappingProxyType(outputs),
        queue_ns=response.timing.queue_ns,
        compute_ns=response.timing.compute_ns,
        batch_size=response.timing.batch_size,
        top=tuple(
            ClassScore(best.index, best.label, best.score, best.probability)
            for best in response.top
        ),
    )


def from_result(
    model: ModelInfo,
    snippet_id: str,
    result: snippets_pb2.SnippetResult,
    reply: Reply = EVERYTHING,
) -> StreamResult:
    """Convert what became of one snippet of a stream; see `from_response`.

    Returns:
        The snippet's scores, or the reason why there are none.

    Raises:
        BadReply: The result is empty, or not one for this snippet and model.
    """
    match result.WhichOneof("result"):
        case "response":
            return from_response(model, snippet_id, result.response, reply)
        case "error":
            return _to_rejection(snippet_id, result.error)
        case None:
            raise BadReply(f"the result for snippet {snippet_id!r} has neither scores nor an error")


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
        # Pairs in truth: the stubs know the sync API's attributes only.
        metadata = cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata())
        retry_after_s = from_trailing_metadata(metadata)
        return SnippetRejected(snippet_id, code, details, retry_after_s)
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


def _to_rejection(snippet_id: str, error: snippets_pb2.SnippetError) -> SnippetRejected:
    _require_id(snippet_id, error.snippet_id)
    code = _STATUS_CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    retry_after_s = from_duration(error.retry_after) if error.HasField("retry_after") else None
    return SnippetRejected(snippet_id, code, error.message, retry_after_s)


def _require_id(sent: str, received: str) -> None:
    if received != sent:
        raise BadReply(
            f"expected the reply for snippet {sent!r}, got one for {received!r}: "
            "the daemon answers out of order or changes ids"
        )


def _require_model(model: ModelInfo, response: snippets_pb2.ScoreResponse) -> None:
    # A pair's name may be given to other models while a client has it described.
    is_pair = model.address != model.name
    if response.model != model.name and not is_pair:
        raise BadReply(
            f"snippet {response.snippet_id!r} was sent to model {model.name!r}, but "
            f"{response.model!r} scored it"
        )
    if model.pinned_version not in (0, response.version):
        raise BadReply(
            f"snippet {response.snippet_id!r} was sent to version {model.pinned_version} of model "
            f"{model.name!r}, but version {response.version} scored it"
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
