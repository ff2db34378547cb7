from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import answer, bad, full, good, retry_details, tensor
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import Priority, errors, messages
from tsnd_client.urgency import Urgency


class Status(grpc.RpcError):
    """What gRPC raises, without gRPC."""

    def __init__(self, code, details="why", metadata=()):
        super().__init__()
        self._code, self._details, self._metadata = code, details, metadata

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._metadata


BLACK = np.zeros((6, 8, 3), np.uint8)


def one_snippet(model, pixels=BLACK, snippet_id=""):
    """The snippet of a request, as it is sent."""
    request = messages.new_request(model, Urgency())
    messages.add_snippet(request, model, snippet_id, pixels)
    return request.snippets[0]


def test_a_request_asks_for_the_newest_version_at_the_usual_urgency(rgb_model):
    request = messages.new_request(rgb_model, Urgency())

    assert request == snippets_pb2.ScoreRequest(model="toy-rgb", version=0, priority=1)


def test_a_request_carries_address_pinned_version_and_urgency(rgb_model):
    model = replace(rgb_model, address="toy", pinned_version=3)

    request = messages.new_request(model, Urgency(Priority.REAL_TIME, timeout_us=5))

    assert (request.model, request.version, request.timeout_us) == ("toy", 3, 5)
    assert request.HasField("priority")
    assert request.priority == 0


def test_an_rgb_snippet_carries_shape_and_pixels(rgb_model):
    pixels = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)

    snippet = one_snippet(rgb_model, pixels, "cam/1")

    assert snippet.id == "cam/1"
    assert snippet.modality == model_pb2.MODALITY_RGB
    assert tuple(snippet.shape) == (6, 8, 3)
    assert snippet.raw == bytes(range(144))


def test_a_flow_snippet_carries_the_flow_modality(flow_model):
    snippet = one_snippet(flow_model, np.full((4, 6, 8), 128, np.uint8))

    assert snippet.modality == model_pb2.MODALITY_FLOW
    assert tuple(snippet.shape) == (4, 6, 8)


def test_pixels_of_any_memory_layout_are_sent_row_major(rgb_model):
    pixels = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)[::-1, :, ::-1]

    assert one_snippet(rgb_model, pixels).raw == np.ascontiguousarray(pixels).tobytes()


@pytest.mark.parametrize(
    ("snippet_id", "pixels"), [("a", BLACK[1:]), (5, BLACK), ("no \ud800 text", BLACK)]
)
def test_a_snippet_that_cannot_be_added_leaves_its_request_as_it_was(rgb_model, snippet_id, pixels):
    request = messages.new_request(rgb_model, Urgency())
    messages.add_snippet(request, rgb_model, "first", BLACK)

    with pytest.raises((errors.FrameMismatch, TypeError, ValueError)):
        messages.add_snippet(request, rgb_model, snippet_id, pixels)

    assert [snippet.id for snippet in request.snippets] == ["first"]


def test_pixels_of_the_wrong_shape_are_refused_with_what_was_expected(rgb_model):
    with pytest.raises(errors.FrameMismatch) as caught:
        one_snippet(rgb_model, np.zeros((48, 64, 3), np.uint8), "cam/1")

    assert str(caught.value) == (
        "snippet 'cam/1': model 'toy-rgb' takes uint8 [6, 8, 3], got uint8 [48, 64, 3]. "
        "Send BGR frames resized to 8x6."
    )


def test_pixels_of_the_wrong_dtype_are_refused(flow_model):
    pixels: Any = np.zeros((4, 6, 8), np.float32)

    with pytest.raises(errors.FrameMismatch, match=r"got float32.*Stack 2 flow fields"):
        one_snippet(flow_model, pixels, "cam/1")


def test_a_response_becomes_scores_and_timing(rgb_model):
    pixels = np.zeros((6, 8, 3), np.uint8) + np.array([1, 2, 3], np.uint8)

    result = messages.from_response(
        rgb_model, "cam/1", answer(one_snippet(rgb_model, pixels, "cam/1"))
    )

    np.testing.assert_array_equal(result.scores, np.array([1, 2, 3], np.float32))
    np.testing.assert_array_equal(result.features, np.array([1, 3], np.float32))
    assert result.outputs["scores"] is result.scores
    assert (result.model, result.version) == ("toy-rgb", 3)
    assert (result.queue_ns, result.compute_ns, result.batch_size) == (11, 22, 1)


def test_results_cannot_be_written_to(rgb_model):
    result = messages.from_response(rgb_model, "", answer(one_snippet(rgb_model)))
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
    response = answer(one_snippet(rgb_model), outputs=[tensor("scores", [1, 2, 3])])

    with pytest.raises(errors.BadReply, match="lacks features"):
        messages.from_response(rgb_model, "", response)


def test_scores_that_do_not_fit_the_labels_are_a_bad_reply_that_names_the_version(rgb_model):
    outputs = [tensor("scores", [1, 2]), tensor("features", [1])]
    response = answer(one_snippet(rgb_model), outputs=outputs, version=4)

    with pytest.raises(
        errors.BadReply, match=r"\[2\].*version 3 has 3 labels.*version 4 scored it"
    ):
        messages.from_response(rgb_model, "", response)


def test_a_response_for_another_snippet_is_a_bad_reply(rgb_model):
    with pytest.raises(errors.BadReply, match="for snippet 'a', got one for 'b'"):
        messages.from_response(rgb_model, "a", snippets_pb2.ScoreResponse(snippet_id="b"))


def test_another_version_of_the_model_is_read_with_features_of_its_own_length(rgb_model):
    outputs = [tensor("scores", [1, 2, 3]), tensor("features", [1, 2, 3, 4, 5])]
    response = answer(one_snippet(rgb_model), version=4, outputs=outputs)

    result = messages.from_response(rgb_model, "", response)

    assert (result.version, result.features.shape) == (4, (5,))


def test_another_version_than_the_pinned_one_is_a_bad_reply(rgb_model):
    pinned = replace(rgb_model, pinned_version=3)
    snippet = one_snippet(pinned)

    assert messages.from_response(pinned, "", answer(snippet)).version == 3
    with pytest.raises(errors.BadReply, match=r"sent to version 3 .* but version 4 scored it"):
        messages.from_response(pinned, "", answer(snippet, version=4))


def test_a_response_of_another_model_is_a_bad_reply(rgb_model):
    response = answer(one_snippet(rgb_model), model="toy-flow")

    with pytest.raises(errors.BadReply, match="sent to model 'toy-rgb', but 'toy-flow' scored it"):
        messages.from_response(rgb_model, "", response)


def test_a_pair_may_stand_for_another_model_by_now(rgb_model):
    paired = replace(rgb_model, address="toy")

    result = messages.from_response(paired, "", answer(one_snippet(paired), model="toy-rgb-next"))

    assert result.model == "toy-rgb-next"


def test_a_stream_result_is_scores_or_a_rejection(rgb_model):
    snippet = one_snippet(rgb_model, snippet_id="a")

    scores = messages.from_result(rgb_model, "a", good(snippet))
    rejection = messages.from_result(rgb_model, "a", bad(snippet))

    assert isinstance(scores, messages.SnippetScores)
    assert isinstance(rejection, errors.SnippetRejected)
    assert rejection.code is grpc.StatusCode.INVALID_ARGUMENT
    assert rejection.retry_after_s is None
    assert str(rejection) == "snippet 'a' was rejected with INVALID_ARGUMENT: not to my taste"


def test_a_rejection_tells_when_to_try_again(rgb_model):
    result = full(one_snippet(rgb_model), retry_after_s=0.25)

    rejection = messages.from_result(rgb_model, "", result)

    assert isinstance(rejection, errors.SnippetRejected)
    assert rejection.retry_after_s == 0.25


def test_a_rejection_of_another_snippet_is_a_bad_reply(rgb_model):
    result = bad(one_snippet(rgb_model, snippet_id="b"))

    with pytest.raises(errors.BadReply, match="for snippet 'a', got one for 'b'"):
        messages.from_result(rgb_model, "a", result)


def test_a_rejection_with_an_unheard_of_code_is_unknown(rgb_model):
    error = snippets_pb2.SnippetError(code=99)

    result = messages.from_result(rgb_model, "", snippets_pb2.SnippetResult(error=error))

    assert isinstance(result, errors.SnippetRejected)
    assert result.code is grpc.StatusCode.UNKNOWN


def test_an_empty_stream_result_is_a_bad_reply(rgb_model):
    with pytest.raises(errors.BadReply, match="neither scores nor an error"):
        messages.from_result(rgb_model, "", snippets_pb2.SnippetResult())


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


def test_a_status_with_retry_info_tells_when_to_try_again():
    status = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata=retry_details())

    error = messages.from_status(status, target="host:1", model="toy", snippet_id="a")

    assert isinstance(error, errors.SnippetRejected)
    assert error.retry_after_s == 0.25
