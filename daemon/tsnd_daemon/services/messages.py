"""Turns errors into messages; pure functions."""

from google.rpc import error_details_pb2, status_pb2

from tsnd.v1 import snippets_pb2
from tsnd_daemon.errors import QueueFull, RequestError


def error_result(snippet_id: str, error: RequestError) -> snippets_pb2.SnippetResult:
    """Describe why a snippet of a stream got nothing."""
    (code, _) = error.code.value
    result = snippets_pb2.SnippetResult(
        error=snippets_pb2.SnippetError(snippet_id=snippet_id, code=code, message=str(error))
    )
    if isinstance(error, QueueFull):
        result.error.retry_after.FromNanoseconds(error.retry_after_ns)
    return result


def error_details(error: RequestError) -> bytes:
    """Describe an error as google.rpc.Status, serialized, for a call's trailing metadata."""
    (code, _) = error.code.value
    status = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, QueueFull):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(error.retry_after_ns)
        status.details.add().Pack(retry)
    data: bytes = status.SerializeToString()
    return data
