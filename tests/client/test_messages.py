from typing import Any

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import MANIFESTS, answer, rejected, scored, tensor
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import errors, messages


class Status(grpc.RpcError):
    """What gRPC raises, without gRPC."""

    def __init__(self, code, details="why"):
        super().__init__()
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details


def test_a_model_description_becomes_model_info(rgb_model, flow_model):
    flow, rgb = (
        messages.to_model_info(snippets_pb2.GetModelResponse(manifest=manifest, max_batch_size=8))
        for manifest in MANIFESTS
    )

    assert (flow, rgb) == (flow_model, rgb_model)


def test_a_model_of_unknown_modality_is_a_bad_reply():
    response = snippets_pb2.GetModelResponse(manifest=model_pb2.ModelManifest(name="new"))

    with pytest.raises(errors.BadReply, match=r"'new' has modality 0.*upgrade"):
        messages.to_model_info(response)


def test_snippet_shape_follows_the_modality(rgb_model, flow_model):
    assert rgb_model.snippet_shape == (6, 8, 3)
    assert flow_model.snippet_shape == (4, 6, 8)


def test_an_rgb_request_carries_model_shape_and_pixels(rgb_model):
    pixels = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)

    request = messages.to_request(rgb_model, "cam/1", pixels)

    assert (request.model, request.version) == ("toy-rgb", 3)
    assert request.snippet.id == "cam/1"
    assert request.snippet.modality == model_pb2.MODALITY_RGB
    assert tuple(request.snippet.shape) == (6, 8, 3)
    assert request.snippet.raw == bytes(range(144))


def test_a_flow_request_carries_the_flow_modality(flow_model):
    request = messages.to_request(flow_model, "", np.full((4, 6, 8), 128, np.uint8))

    assert request.snippet.modality == model_pb2.MODALITY_FLOW
    assert tuple(request.snippet.shape) == (4, 6, 8)


def test_pixels_of_any_memory_layout_are_sent_row_major(rgb_model):
    pixels = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)[::-1, :, ::-1]

    request = messages.to_request(rgb_model, "", pixels)

    assert request.snippet.raw == np.ascontiguousarray(pixels).tobytes()


def test_pixels_of_the_wrong_shape_are_refused_with_what_was_expected(rgb_model):
    with pytest.raises(errors.FrameMismatch) as caught:
        messages.to_request(rgb_model, "cam/1", np.zeros((48, 64, 3), np.uint8))

    assert str(caught.value) == (
        "snippet 'cam/1': model 'toy-rgb' takes uint8 [6, 8, 3], got uint8 [48, 64, 3]. "
        "Send BGR frames resized to 8x6."
    )


def test_pixels_of_the_wrong_dtype_are_refused(flow_model):
    pixels: Any = np.zeros((4, 6, 8), np.float32)

    with pytest.raises(errors.FrameMismatch, match=r"got float32.*Stack 2 flow fields"):
        messages.to_request(flow_model, "cam/1", pixels)


def test_a_response_becomes_scores_and_timing(rgb_model):
    pixels = np.zeros((6, 8, 3), np.uint8) + np.array([1, 2, 3], np.uint8)

    result = messages.from_response(
        rgb_model, "cam/1", answer(messages.to_request(rgb_model, "cam/1", pixels))
    )

    np.testing.assert_array_equal(result.scores, np.array([1, 2, 3], np.float32))
    np.testing.assert_array_equal(result.features, np.array([1, 3], np.float32))
    assert result.outputs["scores"] is result.scores
    assert (result.queue_ns, result.compute_ns, result.batch_size) == (11, 22, 1)


def test_results_cannot_be_written_to(rgb_model):
    request = messages.to_request(rgb_model, "", np.zeros((6, 8, 3), np.uint8))
    result = messages.from_response(rgb_model, "", answer(request))
    outputs: Any = result.outputs

    with pytest.raises(ValueError, match="read-only"):
        result.scores[0] = 1
    with pytest.raises(TypeError):
        outputs["more"] = result.scores


def test_tensors_are_read_as_little_endian_into_native_order():
    wire = snippets_pb2.Tensor(
        data_type=model_pb2.DATA_TYPE_FLOAT32, shape=[2], data=b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    )

    array = messages.to_array(wire)

    assert array.dtype.isnative
    assert array.tolist() == [1.0, 2.0]


def test_tensors_of_bytes_are_read():
    wire = snippets_pb2.Tensor(data_type=model_pb2.DATA_TYPE_UINT8, shape=[2, 1], data=b"\x01\xff")

    assert messages.to_array(wire).tolist() == [[1], [255]]


def test_an_empty_tensor_is_read():
    assert messages.to_array(tensor("features", [])).shape == (0,)


def test_a_tensor_whose_data_does_not_fill_its_shape_is_a_bad_reply():
    wire = tensor("scores", [1, 2, 3])
    wire.shape[0] = 4

    with pytest.raises(errors.BadReply, match=r"'scores' of shape \[4\] has 12 bytes, expected 16"):
        messages.to_array(wire)


def test_a_tensor_of_unknown_type_is_a_bad_reply():
    with pytest.raises(errors.BadReply, match="unknown data type 0"):
        messages.to_array(snippets_pb2.Tensor(name="scores"))


def test_a_response_without_features_is_a_bad_reply(rgb_model):
    response = snippets_pb2.ScoreResponse(outputs=[tensor("scores", [1, 2, 3])])

    with pytest.raises(errors.BadReply, match="lacks features"):
        messages.from_response(rgb_model, "", response)


def test_scores_that_do_not_fit_the_labels_are_a_bad_reply(rgb_model):
    response = snippets_pb2.ScoreResponse(
        outputs=[tensor("scores", [1, 2]), tensor("features", [1])]
    )

    with pytest.raises(errors.BadReply, match=r"shape \[2\].*3 labels"):
        messages.from_response(rgb_model, "", response)


def test_a_response_for_another_snippet_is_a_bad_reply(rgb_model):
    with pytest.raises(errors.BadReply, match="for snippet 'a', got one for 'b'"):
        messages.from_response(rgb_model, "a", snippets_pb2.ScoreResponse(snippet_id="b"))


def test_a_stream_reply_is_scores_or_a_rejection(rgb_model):
    request = messages.to_request(rgb_model, "a", np.zeros((6, 8, 3), np.uint8))

    good = messages.from_stream_response(rgb_model, "a", scored(request))
    bad = messages.from_stream_response(rgb_model, "a", rejected(request))

    assert isinstance(good, messages.SnippetScores)
    assert isinstance(bad, errors.SnippetRejected)
    assert bad.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(bad) == "snippet 'a' was rejected with INVALID_ARGUMENT: not to my taste"


def test_a_rejection_with_an_unheard_of_code_is_unknown(rgb_model):
    reply = snippets_pb2.ScoreStreamResponse(error=snippets_pb2.SnippetError(code=99))

    result = messages.from_stream_response(rgb_model, "", reply)

    assert isinstance(result, errors.SnippetRejected)
    assert result.code is grpc.StatusCode.UNKNOWN


def test_an_empty_stream_reply_is_a_bad_reply(rgb_model):
    with pytest.raises(errors.BadReply, match="neither scores nor an error"):
        messages.from_stream_response(rgb_model, "", snippets_pb2.ScoreStreamResponse())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.DaemonUnavailable),
        (grpc.StatusCode.NOT_FOUND, errors.ModelNotFound),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.SnippetRejected),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.SnippetRejected),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.CallFailed),
        (grpc.StatusCode.UNIMPLEMENTED, errors.CallFailed),
    ],
)
def test_a_status_becomes_the_error_that_it_means(code, kind):
    error = messages.from_status(Status(code), target="host:1", model="toy", snippet_id="")

    assert type(error) is kind


def test_a_status_of_a_call_without_snippet_rejects_none():
    error = messages.from_status(Status(grpc.StatusCode.INTERNAL), target="host:1")

    assert type(error) is errors.CallFailed
