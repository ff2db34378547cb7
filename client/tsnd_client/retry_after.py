"""When a rejected snippet may be sent again, as the daemon says it on streams and in statuses."""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

# Where gRPC puts a google.rpc.Status, by its convention for richer errors.
STATUS_DETAILS_KEY = "grpc-status-details-bin"


def from_duration(duration: Duration) -> float:
    """Convert a duration to seconds; one that is negative is none."""
    return max(0.0, duration.seconds + duration.nanos * 1e-9)


def from_trailing_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> float | None:
    """Find the retry delay in the metadata that ended a call.

    Args:
        metadata: Pairs of key and value, as both of gRPC's APIs give them.

    Returns:
        Seconds from now; None when the daemon gave no delay, or none that can be read.
    """
    for key, value in metadata or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            return _from_details(value)
    return None


def _from_details(serialized: bytes) -> float | None:
    retry = RetryInfo()
    try:
        for detail in Status.FromString(serialized).details:
            if detail.Unpack(retry) and retry.HasField("retry_delay"):
                return from_duration(retry.retry_delay)
    except DecodeError:
        # The rejection itself is what counts; it came in the status.
        return None
    return None
