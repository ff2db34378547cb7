"""The pixels of a load, and the one message that each stream of the native API sends over and over.

It is serialized once: making it anew for each snippet of 150 KB would cost this process about as
much as the daemon spends on it. Scores are of no interest here, so nothing is lost by it.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tsnd.v1 import snippets_pb2
from tsnd_client.errors import MissingExtra
from tsnd_client.jpeg import Jpeg
from tsnd_client.messages import add_snippet, new_request
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.reply import Reply
from tsnd_client.shared_memory import SnippetMemory
from tsnd_client.urgency import Priority, to_urgency

Pixels = npt.NDArray[np.uint8]


class Payload(StrEnum):
    """How pixels get to the daemon."""

    RAW = "raw"
    JPEG = "jpeg"
    SHARED = "shared"


def snippet_name(place: int) -> str:
    """Return the id of the snippet at a place in its group."""
    return f"bench/{place}"


def random_pixels(shape: Sequence[int], seed: int) -> Pixels:
    """Draw pixels, uint8 of a shape; no two snippets need the same time otherwise."""
    return np.random.default_rng(seed).integers(0, 256, tuple(shape), dtype=np.uint8)


def natural_jpeg(model: ModelInfo, seed: int) -> Jpeg:
    """Draw a snippet that JPEG makes about as small as it makes a photograph.

    rgb: one image [H, W, 3]. flow: the mosaic of the planes, grey, [2 * H, stack_depth * W].

    Raises:
        MissingExtra: There is no OpenCV to encode it.
    """
    try:
        import cv2  # noqa: PLC0415 -- needs an extra that may be missing
    except ImportError as err:
        raise MissingExtra(
            f"--payload jpeg needs OpenCV to make images ({err}): pip install 'tsnd[video]'"
        ) from err
    height, width, channels = model.frame_height, model.frame_width, 3
    if model.modality is Modality.FLOW:
        height, width, channels = 2 * height, model.stack_depth * width, 1
    rng = np.random.default_rng(seed)
    # Noise whose power falls with its frequency, as that of natural images does.
    layers = [
        cv2.resize(
            rng.normal(0, 7 * step**0.5, (-(-height // step), -(-width // step), channels)),
            (width, height),
        ).reshape(height, width, channels)
        for step in (2, 4, 8, 16, 32)
    ]
    image = np.clip(128 + np.sum(layers, axis=0), 0, 255).astype(np.uint8)
    return Jpeg(cv2.imencode(".jpg", image)[1].tobytes())


def score_message(
    model: ModelInfo,
    snippets: Sequence[Pixels | Jpeg],
    *,
    priority: Priority,
    timeout_ms: float | None,
    reply: Reply,
    memory: SnippetMemory | None,
) -> bytes:
    """Serialize a message with a group of snippets.

    Args:
        model: To score them with.
        snippets: Their pixels, uint8 of `model.snippet_shape`, or JPEG files.
        priority: Which snippets the daemon runs first.
        timeout_ms: Longest wait in its queue, milliseconds; None is without limit.
        reply: What results hold.
        memory: Where the daemon finds the pixels; None sends them.
    """
    urgency = to_urgency(priority, None if timeout_ms is None else timeout_ms / 1e3)
    request = new_request(model, urgency, reply)
    for place, pixels in enumerate(snippets):
        add_snippet(request, model, snippet_name(place), pixels, memory=memory)
    return request.SerializeToString()


def attach_message(memory: SnippetMemory) -> bytes:
    """Serialize the message that offers memory to the daemon."""
    return snippets_pb2.ScoreRequest(attach=memory.where).SerializeToString()
