import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.errors import InvalidSnippet
from tsnd_daemon.validation import SnippetContract, Sources

RGB, FLOW = model_pb2.MODALITY_RGB, model_pb2.MODALITY_FLOW


def contract(modality=RGB, shape=(2, 4, 3)):
    return SnippetContract(
        model_pb2.ModelManifest(
            name="m", modality=modality, input=model_pb2.TensorSpec(shape=shape)
        )
    )


def message(**changes):
    fields = {"id": "cam3/118", "modality": RGB, "shape": [2, 4, 3], "raw": bytes(range(24))}
    return snippets_pb2.Snippet(**{**fields, **changes})


def validate(sent, by=None):
    """Check a message, with its pixels beside it as the reader of requests gives them."""
    raw = sent.raw if sent.HasField("raw") else None
    with ThreadPoolExecutor(1) as decoders:
        return (by or contract()).validate(sent, raw, Sources(decoders))


def test_a_valid_snippet_keeps_its_pixels_in_order():
    snippet = validate(message())

    assert snippet.id == "cam3/118"
    np.testing.assert_array_equal(snippet.pixels, np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    assert not snippet.pixels.flags.writeable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modality": FLOW}, "'cam3/118': model 'm' takes rgb snippets, this one is flow"),
        ({"modality": 0}, "takes rgb snippets, this one is unspecified"),
        ({"modality": 77}, "this one is of unknown modality 77"),
        ({"shape": [4, 2, 3]}, "takes uint8 of shape [2, 4, 3]"),
        ({"shape": [4, 2, 3]}, "got [4, 2, 3]. Resize or stack before sending"),
        ({"shape": []}, "got []"),
        ({"shape": [1] * 5000}, "got 5000 axes"),
        ({"shape": [2**32 - 1] * 3}, "got [4294967295, 4294967295, 4294967295]"),
        ({"raw": b""}, "needs 24 bytes of uint8, raw has 0"),
        ({"raw": bytes(23)}, "needs 24 bytes of uint8, raw has 23"),
        ({"raw": bytes(25)}, "needs 24 bytes of uint8, raw has 25"),
        ({"id": "x" * 257}, "its id has 257 characters, at most 256"),
    ],
)
def test_a_snippet_that_does_not_fit_is_refused_with_what_came_and_what_was_expected(
    changes, reason
):
    with pytest.raises(InvalidSnippet, match=re.escape(reason)):
        validate(message(**changes))


def test_a_snippet_without_pixels_is_told_how_many_bytes_to_send():
    empty = message()
    empty.ClearField("raw")

    with pytest.raises(InvalidSnippet, match="has no pixels: set raw to 24 bytes"):
        validate(empty)


def test_a_flow_model_explains_its_layout():
    flow = contract(FLOW, (10, 2, 4))

    with pytest.raises(InvalidSnippet, match=r"planes x0, y0, x1, y1, \.\.\.\), got \[2, 2, 4\]"):
        validate(message(modality=FLOW, shape=[2, 2, 4]), flow)
