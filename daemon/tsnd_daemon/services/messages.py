"""Turns errors into messages; pure functions."""

from google.rpc import error_details_pb2, status_pb2

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import QueueFull, RequestError

_MAX_STATUS_BYTES = 1500
"""gRPC takes 8 KB of headers; there it is a message with up to three bytes for each of these,
and once more in the details."""


def error_result(snippet_id: str, error: RequestError) -> snippets_pb2.SnippetResult:
    """Describe why a snippet of a stream got nothing."""
    (code, _) = error.code.value
    result = snippets_pb2.SnippetResult(
        error=snippets_pb2.SnippetError(snippet_id=snippet_id, code=code, message=str(error))
    )
    if isinstance(error, QueueFull):
        result.error.retry_after.FromNanoseconds(error.retry_after_ns)
    return result


def error_message(error: RequestError) -> str:
    """Return an error's message, short enough for the headers that carry a call's status."""
    text = str(error).encode(errors="replace")
    if len(text) <= _MAX_STATUS_BYTES:
        return text.decode()
    return text[:_MAX_STATUS_BYTES].decode(errors="ignore") + "..."


def error_details(error: RequestError) -> bytes:
    """Describe an error as google.rpc.Status, serialized, for a call's trailing metadata."""
    (code, _) = error.code.value
    status = status_pb2.Status(code=code, message=error_message(error))
    if isinstance(error, QueueFull):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(error.retry_after_ns)
        status.details.add().Pack(retry)
    data: bytes = status.SerializeToString()
    return data
