"""A small real gRPC server for the client's tests; its scores can be told from the pixels."""

import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd.v1.snippets_pb2_grpc import SnippetServiceServicer

LABELS = ("blue", "green", "red")

Replies = Iterator[snippets_pb2.ScoreStreamResponse]
StreamHandler = Callable[[Iterator[snippets_pb2.ScoreRequest], grpc.ServicerContext], Replies]


def output(name, length):
    return model_pb2.TensorSpec(
        name=name, data_type=model_pb2.DATA_TYPE_FLOAT32, shape=[length], caffe_blob=name
    )


def manifest(name, modality, stack_depth=0):
    return model_pb2.ModelManifest(
        name=name,
        version=3,
        modality=modality,
        labels=LABELS,
        preprocessing=model_pb2.Preprocessing(
            frame_height=6, frame_width=8, crops_per_snippet=10, stack_depth=stack_depth
        ),
        outputs=[output("scores", len(LABELS)), output("features", 2)],
    )


MANIFESTS = (
    manifest("toy-flow", model_pb2.MODALITY_FLOW, stack_depth=2),
    manifest("toy-rgb", model_pb2.MODALITY_RGB),
)
NAMES = {entry.modality: entry.name for entry in MANIFESTS}

# Stands for both models.
PAIR = "toy"


def description(entry):
    return snippets_pb2.GetModelResponse(
        manifest=entry,
        max_batch_size=8,
        max_group_size=16,
        backend="onnxruntime",
        precision=model_pb2.PRECISION_FP32,
    )


def tensor(name, values):
    data = np.asarray(values, "<f4")
    return snippets_pb2.Tensor(
        name=name,
        data_type=model_pb2.DATA_TYPE_FLOAT32,
        shape=data.shape,
        data=data.tobytes(),
    )


def answer(snippet, snippet_id=None, **changes):
    """Score each class by the mean of its channel; the features are min and max."""
    pixels = np.frombuffer(snippet.raw, np.uint8).reshape(tuple(snippet.shape))
    fields = {
        "snippet_id": snippet.id if snippet_id is None else snippet_id,
        "model": NAMES[snippet.modality],
        "version": 3,
        "outputs": [
            tensor("scores", pixels.reshape(-1, 3).mean(axis=0)),
            tensor("features", [pixels.min(), pixels.max()]),
        ],
        "timing": snippets_pb2.Timing(queue_ns=11, compute_ns=22, batch_size=1),
    }
    return snippets_pb2.ScoreResponse(**{**fields, **changes})


def good(snippet, snippet_id=None, **changes):
    return snippets_pb2.SnippetResult(response=answer(snippet, snippet_id, **changes))


def bad(snippet, code=grpc.StatusCode.INVALID_ARGUMENT, retry_after=None):
    error = snippets_pb2.SnippetError(
        snippet_id=snippet.id,
        code=code.value[0],
        message="not to my taste",
        retry_after=retry_after,
    )
    return snippets_pb2.SnippetResult(error=error)


def duration(seconds):
    whole, fraction = divmod(seconds, 1)
    return Duration(seconds=int(whole), nanos=round(fraction * 1e9))


def full(snippet, retry_after_s=0.001):
    """Reject a snippet that may be sent again."""
    return bad(snippet, grpc.StatusCode.RESOURCE_EXHAUSTED, duration(retry_after_s))


def message(*results):
    return snippets_pb2.ScoreStreamResponse(results=results)


def scored(request, **changes):
    """Score the snippets of a request in one message."""
    return message(*(good(snippet, **changes) for snippet in request.snippets))


def rejected(request):
    return message(*map(bad, request.snippets))


def retry_details(retry_after_s=0.25):
    """Make the trailing metadata of a rejection that names a delay."""
    info = Any()
    info.Pack(RetryInfo(retry_delay=duration(retry_after_s)))
    return (("grpc-status-details-bin", Status(code=8, details=[info]).SerializeToString()),)


def wait_for_end(context):
    """Return when the client is gone."""
    call_is_over = threading.Event()
    if context.add_callback(call_is_over.set):
        call_is_over.wait()


def score_all(requests, context):
    return map(scored, requests)


class ToyDaemon(SnippetServiceServicer):
    """Serves one rgb and one flow model; a test may give it a stream handler of its own."""

    def __init__(self, stream: StreamHandler) -> None:
        self._stream = stream
        self.get_model_calls = 0
        # Models that are listed, and gone when they are asked for.
        self.gone: set[str] = set()
        self.requests: list[snippets_pb2.ScoreRequest] = []

    def Score(self, request, context):
        self.requests.append(request)
        (snippet,) = request.snippets
        if snippet.id == "bad":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not to my taste")
        if snippet.id == "full":
            context.set_trailing_metadata(retry_details())
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
        if snippet.id == "never":
            wait_for_end(context)
        return answer(snippet)

    def ScoreStream(self, request_iterator, context):
        return self._stream(self._noted(request_iterator), context)

    def ListModels(self, request, context):
        return snippets_pb2.ListModelsResponse(
            models=[
                snippets_pb2.ModelSummary(
                    name=entry.name, version=entry.version, modality=entry.modality, classes=3
                )
                for entry in MANIFESTS
            ],
            pairs=[snippets_pb2.Pair(name=PAIR, rgb_model="toy-rgb", flow_model="toy-flow")],
        )

    def GetModel(self, request, context):
        self.get_model_calls += 1
        name = NAMES.get(request.modality) if request.name == PAIR else request.name
        found = [
            entry
            for entry in MANIFESTS
            if entry.name == name
            and entry.name not in self.gone
            and request.version in (0, entry.version)
        ]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, "serving toy-flow, toy-rgb")
        return description(found[0])

    def _noted(self, requests):
        for request in requests:
            self.requests.append(request)
            yield request
