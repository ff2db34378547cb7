"""What a message must be answered with, worked out by protobuf and from the contract alone.

The daemon cuts pixels out of messages by hand; here protobuf reads all of it. So wherever
they disagree it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
from google.protobuf.message import DecodeError

from tests.fuzz.scene import FLOW_SHAPE, REGION, RGB_SHAPE
from tests.fuzz.wire_level import LENGTH, fields_of
from tsnd.v1 import model_pb2, snippets_pb2

MOST_FIELDS, MOST_SNIPPET_FIELDS = 2_048, 32
"""A ScoreRequest with more may be refused as unreadable; see wire/requests.py."""
_FLOW, _RGB = model_pb2.MODALITY_FLOW, model_pb2.MODALITY_RGB
_SIZES = {"scores": 5, "features": 10}
_CLASSES = 5
_PLANES, _HEIGHT, _WIDTH = FLOW_SHAPE
_IMAGE_SIZES: dict[int, dict[int, tuple[int, int]]] = {
    _RGB: {1: RGB_SHAPE[:2]},
    _FLOW: {1: (2 * _HEIGHT, _PLANES // 2 * _WIDTH), _PLANES: (_HEIGHT, _WIDTH)},
}
"""Of each image of a snippet, by how many it has."""
_DTYPES = {model_pb2.DATA_TYPE_FLOAT32: "<f4", model_pb2.DATA_TYPE_FLOAT16: "<f2"}
_SMALLEST_WITH_MANY = 2 * MOST_SNIPPET_FIELDS  # bytes: a field has two at least


class Fate(Enum):
    """What becomes of a message on ScoreStream."""

    ANSWERED = auto()
    """One result for each snippet."""
    ATTACHED = auto()
    """One attachment."""
    ENDS = auto()
    """It ends the stream with INVALID_ARGUMENT: no result could say what is wrong."""
    MAY_END = auto()
    """It is answered, or ends the stream, since it has so many fields."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A ScoreRequest as protobuf reads it.

    Attributes:
        fate: What becomes of it.
        request: None when it cannot be read.
    """

    fate: Fate
    request: snippets_pb2.ScoreRequest | None = None

    @property
    def snippets(self) -> Sequence[snippets_pb2.Snippet]:
        """The snippets that are to be answered."""
        return self.request.snippets if self.request is not None else ()


def read(data: bytes) -> Reading:
    """Read what is meant as a ScoreRequest."""
    try:
        request = snippets_pb2.ScoreRequest.FromString(data)
    except DecodeError:
        return Reading(Fate.ENDS)
    if _has_many_fields(data):
        return Reading(Fate.MAY_END, request)
    if request.HasField("attach"):
        return Reading(Fate.ATTACHED, request)
    if not request.snippets:
        return Reading(Fate.ENDS)
    return Reading(Fate.ANSWERED, request)


def _has_many_fields(data: bytes) -> bool:
    if len(data) <= _SMALLEST_WITH_MANY:
        return False
    fields = list(fields_of(data))
    number = snippets_pb2.ScoreRequest.SNIPPETS_FIELD_NUMBER
    inner = (f.value for f in fields if f.number == number and f.kind == LENGTH)
    return len(fields) >= MOST_FIELDS or any(
        len(value) > _SMALLEST_WITH_MANY - 2
        and sum(1 for _ in fields_of(value)) >= MOST_SNIPPET_FIELDS
        for value in inner
    )


def fault_of(
    response: snippets_pb2.ScoreResponse,
    snippet: snippets_pb2.Snippet,
    request: snippets_pb2.ScoreRequest,
) -> str:
    """Say what is wrong with a response to a snippet; nothing is an empty string."""
    pixels = first_pixels(snippet)
    if response.snippet_id != snippet.id:
        return f"the response is to {response.snippet_id!r}, expected {snippet.id!r}"
    if pixels is None or request.priority > 2:
        return f"snippet {snippet.id!r} is scored, and it is not valid"
    return _fault_of_form(response, request.reply) or _fault_of_values(response, pixels)


def _fault_of_form(response: snippets_pb2.ScoreResponse, asked: snippets_pb2.ReplyOptions) -> str:
    names = set(asked.outputs) or (set() if asked.top_k else set(_SIZES))
    if {tensor.name for tensor in response.outputs} != names:
        return f"outputs {[t.name for t in response.outputs]}, expected {sorted(names)}"
    if len(response.top) != asked.top_k:
        return f"{len(response.top)} classes, asked for {asked.top_k}"
    kind = asked.data_type or model_pb2.DATA_TYPE_FLOAT32
    if any(tensor.data_type != kind for tensor in response.outputs):
        return f"outputs that are not of the type {kind}"
    return ""


def _fault_of_values(response: snippets_pb2.ScoreResponse, pixels: bytes) -> str:
    """The synthetic backend answers with the first pixels."""
    for tensor in response.outputs:
        first = np.frombuffer(pixels[: _SIZES[tensor.name]], np.uint8)
        if tensor.data != first.astype(_DTYPES[tensor.data_type]).tobytes():
            return f"{tensor.name} of {response.snippet_id!r} differ from {first.tolist()}"
    best = max(pixels[:_CLASSES])
    if response.top and response.top[0].score != best:
        return f"the best class has {response.top[0].score}, expected {best}"
    return ""


def fault_of_infer(response: Any, request: Any) -> str:
    """Say what is wrong with a ModelInferResponse to a good request."""
    if response.id != request.id:
        return f"the response is to {response.id!r}, expected {request.id!r}"
    rows = request.inputs[0].shape[0]
    pixels = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(rows, -1)
    outputs = zip(response.outputs, response.raw_output_contents, strict=True)
    found = {tensor.name: data for tensor, data in outputs}
    expected = {n: pixels[:, :size].astype("<f4").tobytes() for n, size in _SIZES.items()}
    return "" if found == expected else f"the outputs of {request.id!r} are not its pixels"


def first_pixels(snippet: snippets_pb2.Snippet) -> bytes | None:
    """Return the first ten bytes of a snippet's pixels; None when it is not valid."""
    shape = {_RGB: RGB_SHAPE, _FLOW: FLOW_SHAPE}.get(snippet.modality)
    payload = snippet.WhichOneof("payload")
    if shape is None or payload is None or len(snippet.id) > 256:
        return None
    if tuple(snippet.shape) != shape and not (payload == "jpeg" and not snippet.shape):
        return None
    size = int(np.prod(shape))
    if payload == "raw":
        return snippet.raw[:10] if len(snippet.raw) == size else None
    if payload == "shared":
        at = snippet.shared.offset
        return REGION[at : at + 10] if at + size <= len(REGION) else None
    return _decoded(snippet.modality, tuple(snippet.jpeg.images))


@lru_cache(maxsize=256)
def _decoded(modality: int, images: tuple[bytes, ...]) -> bytes | None:
    """Decode the first ten bytes, all of which are in the first row of the first plane."""
    colours = "GRAY" if modality == _FLOW else "BGR"
    sizes = _IMAGE_SIZES[modality]
    try:
        decoded = [simplejpeg.decode_jpeg(image, colours) for image in images]
    except ValueError:
        return None
    if {image.shape[:2] for image in decoded} != {sizes.get(len(images))}:
        return None
    first: bytes = decoded[0].tobytes()[:10]
    return first
