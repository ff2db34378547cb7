"""Writes ScoreResponse messages of one model, straight into bytes.

All but the numbers is the same in every response of a model, so it is written once; what is
left costs a third of what protobuf's objects do. The bytes are the same as protobuf's.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.snippets import SCORES, FloatArray, Scores
from tsnd_daemon.wire.encoding import with_length

_DTYPES: dict[int, np.dtype[np.floating]] = {
    model_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    model_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
}
_RESPONSE, _TENSOR = snippets_pb2.ScoreResponse, snippets_pb2.Tensor
_MOST_FORMS = 64
_MOST_OUTPUTS = 256


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a client wants to have in its results.

    Attributes:
        outputs: Names; without any, and without `top_k`, all.
        top_k: How many of the best classes.
        data_type: Element type of the outputs, a DataType.
    """

    outputs: tuple[str, ...] = ()
    top_k: int = 0
    data_type: int = model_pb2.DATA_TYPE_FLOAT32


EVERYTHING = ReplyForm()
"""All outputs in float32."""


def to_reply_form(options: snippets_pb2.ReplyOptions) -> ReplyForm:
    """Read what a client wants; raises InvalidSnippet when nobody can give it."""
    data_type = options.data_type or model_pb2.DATA_TYPE_FLOAT32
    if data_type not in _DTYPES:
        raise InvalidSnippet(
            f"reply.data_type {data_type}: expected float32 ({model_pb2.DATA_TYPE_FLOAT32}) or "
            f"float16 ({model_pb2.DATA_TYPE_FLOAT16})."
        )
    if len(options.outputs) > _MOST_OUTPUTS:
        raise InvalidSnippet(f"reply.outputs names {len(options.outputs)} outputs. Name each once.")
    return ReplyForm(tuple(options.outputs), options.top_k, data_type)


class ScoreWriters:
    """The writers of one model: one for each form that its clients ask for."""

    def __init__(self, manifest: model_pb2.ModelManifest) -> None:
        """Make the one for everything.

        Args:
            manifest: The model's.
        """
        self._manifest = manifest
        self._everything = ScoreWriter(manifest)
        self._by_form: dict[ReplyForm, ScoreWriter] = {}

    def for_form(self, form: ReplyForm) -> "ScoreWriter":
        """Return what writes a form; raises InvalidSnippet when the model cannot give it."""
        if form is EVERYTHING:  # nearly always, and cheaper than to look it up
            return self._everything
        writer = self._by_form.get(form)
        if writer is None:
            writer = ScoreWriter(self._manifest, form)
            if len(self._by_form) < _MOST_FORMS:  # there are few; whoever invents more pays
                self._by_form[form] = writer
        return writer


class ScoreWriter:
    """Writes what one model gave, in one form."""

    def __init__(self, manifest: model_pb2.ModelManifest, form: ReplyForm = EVERYTHING) -> None:
        """Write what all of its responses have in common.

        Args:
            manifest: The model's.
            form: What they hold.

        Raises:
            InvalidSnippet: When the model has no such output, or not so many classes.
        """
        self._model = _RESPONSE(model=manifest.name, version=manifest.version).SerializeToString()
        self._dtype = _DTYPES[form.data_type]
        self._outputs = [
            (spec.name, _before_values(spec, form.data_type)) for spec in _chosen(manifest, form)
        ]
        self._labels = list(manifest.labels)
        self._top_k = form.top_k
        if form.top_k > len(self._labels):
            raise InvalidSnippet(
                f"reply.top_k {form.top_k}: model {manifest.name!r} has {len(self._labels)} "
                "classes."
            )

    def response(self, snippet_id: str, scores: Scores) -> bytes:
        """Return the ScoreResponse for what a snippet got."""
        parts = [self._model]
        if snippet_id:
            name = snippet_id.encode()
            parts = [with_length(_RESPONSE.SNIPPET_ID_FIELD_NUMBER, len(name)), name, self._model]
        outputs, row = scores.execution.outputs, scores.row
        for output, before in self._outputs:
            parts.append(before)
            parts.append(_values(outputs[output][row], self._dtype))
        parts.append(_timing(scores.queue_ns, scores.compute_ns, scores.batch_size))
        if self._top_k:
            best = best_classes(outputs[SCORES][row], self._labels, self._top_k)
            parts.append(_RESPONSE(top=best).SerializeToString())
        return b"".join(parts)

    def result(self, snippet_id: str, scores: Scores) -> bytes:
        """Return the same as one of the results of a ScoreStreamResponse."""
        response = self.response(snippet_id, scores)
        head = with_length(snippets_pb2.SnippetResult.RESPONSE_FIELD_NUMBER, len(response))
        return b"".join((result_head(len(head) + len(response)), head, response))


def best_classes(
    scores: FloatArray, labels: Sequence[str], count: int
) -> list[snippets_pb2.ClassScore]:
    """Return the classes with the highest scores, best first; ties by their place.

    Args:
        scores: float32 [classes], before softmax.
        labels: Their names.
        count: How many.
    """
    order = np.argsort(-scores, kind="stable")[:count]
    exponentials = np.exp((scores - scores.max()).astype(np.float64))
    probabilities = exponentials / exponentials.sum()
    return [
        snippets_pb2.ClassScore(
            index=int(i), label=labels[i], score=float(scores[i]), probability=probabilities[i]
        )
        for i in order
    ]


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


def _chosen(manifest: model_pb2.ModelManifest, form: ReplyForm) -> Sequence[model_pb2.TensorSpec]:
    """Return the outputs that a form has, in the order of the manifest."""
    if not form.outputs:
        return [] if form.top_k else list(manifest.outputs)
    known = [spec.name for spec in manifest.outputs]
    if unknown := sorted(set(form.outputs) - set(known)):
        raise InvalidSnippet(
            f"reply.outputs: model {manifest.name!r} has no output {unknown[0][:64]!r}; it has "
            f"{', '.join(known)}."
        )
    return [spec for spec in manifest.outputs if spec.name in form.outputs]


def _values(row: FloatArray, dtype: np.dtype[np.floating]) -> bytes:
    """Return numbers as they are on the wire; those too large for float16 become infinite."""
    # As executors give them on every machine we know; asking costs less than converting.
    if row.dtype == dtype:
        return row.tobytes()
    with np.errstate(over="ignore"):
        converted: npt.NDArray[np.floating] = row.astype(dtype)
    return converted.tobytes()


def _before_values(spec: model_pb2.TensorSpec, data_type: int) -> bytes:
    """Return a Tensor, as an output of a ScoreResponse, up to its values."""
    kind = model_pb2.DataType.ValueType(data_type)
    tensor = _TENSOR(name=spec.name, data_type=kind, shape=spec.shape)
    size = int(np.prod(spec.shape)) * _DTYPES[data_type].itemsize
    head = tensor.SerializeToString() + with_length(_TENSOR.DATA_FIELD_NUMBER, size)
    return with_length(_RESPONSE.OUTPUTS_FIELD_NUMBER, len(head) + size) + head
