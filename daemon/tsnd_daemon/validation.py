"""Checks snippets from the wire against their model, once; pure functions.

After this room nothing is checked again.
"""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.jpeg import JpegLayout, JpegPixels
from tsnd_daemon.shared_memory import PixelSource
from tsnd_daemon.snippets import Pixels, Snippet, Stored

MAX_ID_LENGTH = 256

_LAYOUTS = {
    model_pb2.MODALITY_RGB: "[height, width, 3], rows of B, G, R",
    model_pb2.MODALITY_FLOW: "[2 * stack_depth, height, width], planes x0, y0, x1, y1, ...",
}


@dataclass(slots=True)
class Sources:
    """Where the pixels of a stream's snippets come from, if not from its messages.

    Attributes:
        decoders: Decode JPEG.
        region: The memory that the stream has attached, if any.
    """

    decoders: Executor
    region: PixelSource | None = None


class SnippetContract:
    """What a model demands of a snippet, worked out once from its manifest."""

    def __init__(self, manifest: model_pb2.ModelManifest) -> None:
        self.model = manifest.name
        self.input = manifest.input.name
        self.modality = manifest.modality
        self.shape = tuple(manifest.input.shape)
        self._shape = list(self.shape)
        self.size_bytes = math.prod(self.shape)
        self._jpeg = JpegLayout(manifest.modality, self.shape)

    @property
    def jpeg_counts(self) -> tuple[int, ...]:
        """How many JPEG images a snippet may be made of."""
        return self._jpeg.counts

    def to_jpeg(self, name: str, images: Sequence[bytes], decoders: Executor) -> Stored:
        """Turn JPEG images into a snippet's pixels, which are decoded when its batch runs.

        Args:
            name: The snippet's, for messages.
            images: One file each.
            decoders: Where they are decoded.

        Raises:
            InvalidSnippet: When they do not fit.
        """
        return JpegPixels(name, images, self._jpeg, decoders)

    def validate(
        self, message: snippets_pb2.Snippet, raw: memoryview | bytes | None, sources: Sources
    ) -> Snippet:
        """Turn a message into a snippet.

        Args:
            message: From a client; its own `raw` is not looked at.
            raw: Its pixels, which stay where they are; None when it has none in the message.
            sources: Where they come from then.

        Raises:
            InvalidSnippet: When its id, modality, shape or pixels do not fit.
        """
        name = message.id
        if len(name) > MAX_ID_LENGTH:
            raise InvalidSnippet(
                f"snippet {name[:32]!r}...: its id has {len(name)} characters, at "
                f"most {MAX_ID_LENGTH} are allowed."
            )
        if message.modality != self.modality:
            raise InvalidSnippet(
                f"snippet {name!r}: model {self.model!r} takes {_modality(self.modality)} "
                f"snippets, this one is {_modality(message.modality)}."
            )
        if message.shape != self._shape and not (message.HasField("jpeg") and not message.shape):
            raise InvalidSnippet(
                f"snippet {name!r}: model {self.model!r} takes uint8 of shape "
                f"{list(self.shape)} ({_LAYOUTS[self.modality]}), got {_shown(message.shape)}. "
                "Resize or stack before sending; GetModel tells the shape."
            )
        if raw is None:
            return Snippet(name, self._stored(message, sources))
        if len(raw) != self.size_bytes:
            raise InvalidSnippet(
                f"snippet {name!r}: shape {list(self.shape)} needs {self.size_bytes} bytes "
                f"of uint8, raw has {len(raw)}."
            )
        return Snippet(name, np.frombuffer(raw, np.uint8).reshape(self.shape))

    def _stored(self, message: snippets_pb2.Snippet, sources: Sources) -> Pixels | Stored:
        if message.HasField("jpeg"):
            return self.to_jpeg(message.id, message.jpeg.images, sources.decoders)
        if not message.HasField("shared"):
            raise InvalidSnippet(
                f"snippet {message.id!r} has no pixels: set raw to {self.size_bytes} bytes, or "
                "jpeg, or shared."
            )
        if sources.region is None:
            raise InvalidSnippet(
                f"snippet {message.id!r} is in shared memory, and this call has attached none. "
                "Send `attach` on its stream first, or the pixels as raw."
            )
        return sources.region.pixels(message.shared.offset, self.shape)


def _modality(value: int) -> str:
    """Return the name of a modality, also of one that the enum does not have."""
    try:
        name = model_pb2.Modality.Name(model_pb2.Modality.ValueType(value))
    except ValueError:
        return f"of unknown modality {value}"
    return name.removeprefix("MODALITY_").lower()


def _shown(shape: Iterable[int]) -> str:
    """Show a shape from outside, however long it is."""
    dims = list(shape)
    return str(dims) if len(dims) <= 8 else f"{len(dims)} axes"
