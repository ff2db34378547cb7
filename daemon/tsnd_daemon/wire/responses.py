"""Writes ScoreResponse messages of one model, straight into bytes.

All but the numbers is the same in every response of a model, so it is written once; what is
left costs a third of what protobuf's objects do. The bytes are the same as protobuf's.
"""

import functools

import numpy as np

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.snippets import FloatArray, Scores
from tsnd_daemon.wire.encoding import with_length

_LITTLE_ENDIAN = np.dtype("<f4")
_RESPONSE, _TENSOR = snippets_pb2.ScoreResponse, snippets_pb2.Tensor


class ScoreWriter:
    """Knows one model."""

    def __init__(self, manifest: model_pb2.ModelManifest) -> None:
        """Write what all of its responses have in common.

        Args:
            manifest: The model's.
        """
        self._model = _RESPONSE(model=manifest.name, version=manifest.version).SerializeToString()
        self._outputs = [(spec.name, _before_values(spec)) for spec in manifest.outputs]

    def response(self, snippet_id: str, scores: Scores) -> bytes:
        """Return the ScoreResponse for what a snippet got."""
        parts = [self._model]
        if snippet_id:
            name = snippet_id.encode()
            parts = [with_length(_RESPONSE.SNIPPET_ID_FIELD_NUMBER, len(name)), name, self._model]
        outputs, row = scores.execution.outputs, scores.row
        for output, before in self._outputs:
            parts.append(before)
            parts.append(_values(outputs[output][row]))
        parts.append(_timing(scores.queue_ns, scores.compute_ns, scores.batch_size))
        return b"".join(parts)

    def result(self, snippet_id: str, scores: Scores) -> bytes:
        """Return the same as one of the results of a ScoreStreamResponse."""
        response = self.response(snippet_id, scores)
        head = with_length(snippets_pb2.SnippetResult.RESPONSE_FIELD_NUMBER, len(response))
        return b"".join((result_head(len(head) + len(response)), head, response))


def result_head(size: int) -> bytes:
    """Return what stands before a SnippetResult of so many bytes in a ScoreStreamResponse."""
    return with_length(snippets_pb2.ScoreStreamResponse.RESULTS_FIELD_NUMBER, size)


@functools.lru_cache(maxsize=64)  # snippets that came together have waited together
def _timing(queue_ns: int, compute_ns: int, batch_size: int) -> bytes:
    """Return a Timing as a field of a ScoreResponse."""
    timing = snippets_pb2.Timing(
        queue_ns=queue_ns, compute_ns=compute_ns, batch_size=batch_size
    ).SerializeToString()
    return with_length(_RESPONSE.TIMING_FIELD_NUMBER, len(timing)) + timing


def _values(row: FloatArray) -> bytes:
    """Return numbers as they are on the wire."""
    # As executors give them on every machine we know; asking costs less than converting.
    if row.dtype != _LITTLE_ENDIAN:
        row = row.astype(_LITTLE_ENDIAN)
    return row.tobytes()


def _before_values(spec: model_pb2.TensorSpec) -> bytes:
    """Return a Tensor, as an output of a ScoreResponse, up to its values."""
    tensor = _TENSOR(name=spec.name, data_type=model_pb2.DATA_TYPE_FLOAT32, shape=spec.shape)
    size = int(np.prod(spec.shape)) * _LITTLE_ENDIAN.itemsize
    head = tensor.SerializeToString() + with_length(_TENSOR.DATA_FIELD_NUMBER, size)
    return with_length(_RESPONSE.OUTPUTS_FIELD_NUMBER, len(head) + size) + head
