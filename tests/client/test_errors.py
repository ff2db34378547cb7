import pickle

import grpc
import pytest

from tsnd_client import errors


def test_every_error_is_a_client_error_and_survives_pickling():
    originals = [
        errors.CallFailed(grpc.StatusCode.INTERNAL, "broke"),
        errors.DaemonUnavailable("host:1", "refused"),
        errors.FrameMismatch("text"),
        errors.ModelNotFound("tsn", "host:1", "unknown"),
        errors.SnippetRejected("cam/1", grpc.StatusCode.INVALID_ARGUMENT, "too small"),
        errors.SnippetRejected("cam/1", grpc.StatusCode.RESOURCE_EXHAUSTED, "no room.", 0.25),
        errors.StreamInterrupted(grpc.StatusCode.UNAVAILABLE, "draining", 3, 2),
    ]

    for original in originals:
        copy = pickle.loads(pickle.dumps(original))
        assert isinstance(copy, errors.ClientError)
        assert (str(copy), vars(copy)) == (str(original), vars(original))


def test_an_unavailable_daemon_is_named_with_a_remedy():
    text = str(errors.DaemonUnavailable("gpu7:8001", "connection refused"))

    assert "gpu7:8001" in text
    assert "Is tsnd running there?" in text


def test_an_exceeded_deadline_names_the_option_to_raise():
    assert "deadline_s" in str(errors.CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "too late"))


def test_an_interrupted_stream_counts_the_unanswered_snippets():
    text = str(errors.StreamInterrupted(grpc.StatusCode.UNAVAILABLE, "draining", 3, 2))

    assert "3 snippets were answered, 2 sent ones were not" in text


def test_a_status_without_details_still_reads_as_a_sentence():
    text = str(errors.CallFailed(grpc.StatusCode.UNKNOWN, ""))

    assert text == "the call failed with UNKNOWN: no reason given."


def test_a_rejection_says_when_to_try_again():
    text = str(errors.SnippetRejected("a", grpc.StatusCode.RESOURCE_EXHAUSTED, "no room.", 0.25))

    assert text.endswith("no room. Try again in 0.25 s.")


@pytest.mark.parametrize("kind", [errors.VideoError, errors.ModelNotFound, errors.OutputError])
def test_what_the_user_can_change_is_an_input_error(kind):
    assert issubclass(kind, errors.InputError)
