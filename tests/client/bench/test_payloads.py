import sys

import cv2
import numpy as np
import pytest

from tsnd.v1 import snippets_pb2
from tsnd_client import MissingExtra, Priority, Reply
from tsnd_client.bench.payloads import natural_jpeg, random_pixels, score_message
from tsnd_client.shared_memory import SnippetMemory


def request_of(model, snippets, **changes):
    options = {
        "priority": Priority.NORMAL,
        "timeout_ms": None,
        "reply": Reply(top_k=2),
        "memory": None,
    }
    message = score_message(model, snippets, **{**options, **changes})
    return snippets_pb2.ScoreRequest.FromString(message)


def test_a_message_has_a_group_of_snippets_with_their_places_as_names(rgb_model):
    pixels = [random_pixels(rgb_model.snippet_shape, seed) for seed in range(3)]

    request = request_of(rgb_model, pixels, priority=Priority.BULK, timeout_ms=1.5)

    assert [snippet.id for snippet in request.snippets] == ["bench/0", "bench/1", "bench/2"]
    assert [snippet.raw for snippet in request.snippets] == [each.tobytes() for each in pixels]
    assert (request.priority, request.timeout_us, request.reply.top_k) == (2, 1500, 2)


def test_shared_pixels_are_sent_as_places(rgb_model):
    pixels = [random_pixels(rgb_model.snippet_shape, seed) for seed in range(2)]
    memory = SnippetMemory(rgb_model.snippet_shape, 2)

    request = request_of(rgb_model, pixels, memory=memory)
    memory.close()

    assert [snippet.shared.offset for snippet in request.snippets] == [0, 6 * 8 * 3]


def decoded_shape(image):
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels.shape


def test_pixels_are_the_same_for_the_same_seed(flow_model):
    first, again, other = (random_pixels(flow_model.snippet_shape, seed) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_jpeg_of_rgb_is_a_colour_image(rgb_model):
    (image,) = natural_jpeg(rgb_model, 0).images

    assert decoded_shape(image) == (6, 8, 3)


def test_a_jpeg_of_flow_is_a_grey_mosaic(flow_model):
    (image,) = natural_jpeg(flow_model, 0).images

    assert decoded_shape(image) == (2 * 6, 2 * 8)


def test_jpeg_without_opencv_names_the_extra(rgb_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)

    with pytest.raises(MissingExtra, match=r"pip install 'tsnd\[video\]'"):
        natural_jpeg(rgb_model, 0)
