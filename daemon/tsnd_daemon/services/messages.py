"""Turns results and errors into messages; pure functions."""

from collections.abc import Mapping

import numpy as np

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.errors import RequestError
from tsnd_daemon.snippets import FloatArray, Scores

_LITTLE_ENDIAN = np.dtype("<f4")


def score_response(
    snippet_id: str, manifest: model_pb2.ModelManifest, scores: Scores
) -> snippets_pb2.ScoreResponse:
    """Describe what a snippet got."""
    return snippets_pb2.ScoreResponse(
        snippet_id=snippet_id,
        model=manifest.name,
        version=manifest.version,
        outputs=_tensors(scores.outputs),
        timing=snippets_pb2.Timing(
            queue_ns=scores.queue_ns,
            compute_ns=scores.compute_ns,
            batch_size=scores.batch_size,
        ),
    )


def error_response(snippet_id: str, error: RequestError) -> snippets_pb2.ScoreStreamResponse:
    """Describe why a snippet of a stream got nothing."""
    (code, _) = error.code.value
    return snippets_pb2.ScoreStreamResponse(
        error=snippets_pb2.SnippetError(snippet_id=snippet_id, code=code, message=str(error))
    )


def _tensors(outputs: Mapping[str, FloatArray]) -> list[snippets_pb2.Tensor]:
    return [
        snippets_pb2.Tensor(
            name=name,
            data_type=model_pb2.DATA_TYPE_FLOAT32,
            shape=values.shape,
            data=values.astype(_LITTLE_ENDIAN, copy=False).tobytes(),
        )
        for name, values in outputs.items()
    ]
