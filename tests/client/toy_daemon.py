"""A small real gRPC server for the client's tests; its scores can be told from the pixels."""

import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd.v1.snippets_pb2_grpc import SnippetServiceServicer

LABELS = ("blue", "green", "red")

Replies = Iterator[snippets_pb2.ScoreStreamResponse]
StreamHandler = Callable[[Iterator[snippets_pb2.ScoreRequest], grpc.ServicerContext], Replies]


def manifest(name, modality, stack_depth=0):
    return model_pb2.ModelManifest(
        name=name,
        version=3,
        modality=modality,
        labels=LABELS,
        preprocessing=model_pb2.Preprocessing(
            frame_height=6, frame_width=8, crops_per_snippet=10, stack_depth=stack_depth
        ),
    )


MANIFESTS = (
    manifest("toy-flow", model_pb2.MODALITY_FLOW, stack_depth=2),
    manifest("toy-rgb", model_pb2.MODALITY_RGB),
)


def tensor(name, values):
    data = np.asarray(values, "<f4")
    return snippets_pb2.Tensor(
        name=name,
        data_type=model_pb2.DATA_TYPE_FLOAT32,
        shape=data.shape,
        data=data.tobytes(),
    )


def answer(request, snippet_id=None):
    """Score each class by the mean of its channel; the features are min and max."""
    pixels = np.frombuffer(request.snippet.raw, np.uint8).reshape(tuple(request.snippet.shape))
    return snippets_pb2.ScoreResponse(
        snippet_id=request.snippet.id if snippet_id is None else snippet_id,
        model=request.model,
        version=request.version,
        outputs=[
            tensor("scores", pixels.reshape(-1, 3).mean(axis=0)),
            tensor("features", [pixels.min(), pixels.max()]),
        ],
        timing=snippets_pb2.Timing(queue_ns=11, compute_ns=22, batch_size=1),
    )


def scored(request, snippet_id=None):
    return snippets_pb2.ScoreStreamResponse(response=answer(request, snippet_id))


def rejected(request, code=grpc.StatusCode.INVALID_ARGUMENT):
    return snippets_pb2.ScoreStreamResponse(
        error=snippets_pb2.SnippetError(
            snippet_id=request.snippet.id, code=code.value[0], message="not to my taste"
        )
    )


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

    def Score(self, request, context):
        if request.snippet.id == "bad":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not to my taste")
        if request.snippet.id == "never":
            wait_for_end(context)
        return answer(request)

    def ScoreStream(self, request_iterator, context):
        return self._stream(request_iterator, context)

    def ListModels(self, request, context):
        return snippets_pb2.ListModelsResponse(
            models=[
                snippets_pb2.ModelSummary(
                    name=entry.name, version=entry.version, modality=entry.modality, classes=3
                )
                for entry in MANIFESTS
            ]
        )

    def GetModel(self, request, context):
        self.get_model_calls += 1
        found = [entry for entry in MANIFESTS if entry.name == request.name]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, "serving toy-flow, toy-rgb")
        return snippets_pb2.GetModelResponse(manifest=found[0], max_batch_size=8)
