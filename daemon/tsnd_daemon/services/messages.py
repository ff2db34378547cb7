"""Turns results and errors into messages; pure functions."""

import numpy as np
from google.rpc import error_details_pb2, status_pb2

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.errors import QueueFull, RequestError
from tsnd_daemon.snippets import Scores

_LITTLE_ENDIAN = np.dtype("<f4")


def write_scores(
    response: snippets_pb2.ScoreResponse,
    snippet_id: str,
    manifest: model_pb2.ModelManifest,
    scores: Scores,
) -> None:
    """Describe what a snippet got, in place: to pass finished messages on would copy them."""
    response.snippet_id = snippet_id
    response.model = manifest.name
    response.version = manifest.version
    for name, values in scores.outputs.items():
        response.outputs.add(
            name=name,
            data_type=model_pb2.DATA_TYPE_FLOAT32,
            shape=values.shape,
            data=values.astype(_LITTLE_ENDIAN, copy=False).tobytes(),
        )
    timing = response.timing
    timing.queue_ns = scores.queue_ns
    timing.compute_ns = scores.compute_ns
    timing.batch_size = scores.batch_size


def write_error(response: snippets_pb2.SnippetError, snippet_id: str, error: RequestError) -> None:
    """Describe, in place, why a snippet of a stream got nothing."""
    (code, _) = error.code.value
    response.snippet_id = snippet_id
    response.code = code
    response.message = str(error)
    if isinstance(error, QueueFull):
        response.retry_after.FromNanoseconds(error.retry_after_ns)


def error_details(error: RequestError) -> bytes:
    """Describe an error as google.rpc.Status, serialized, for a call's trailing metadata."""
    (code, _) = error.code.value
    status = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, QueueFull):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(error.retry_after_ns)
        status.details.add().Pack(retry)
    data: bytes = status.SerializeToString()
    return data
