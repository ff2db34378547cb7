import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from tests.client.toy_daemon import retry_details
from tsnd_client.retry_after import from_duration, from_trailing_metadata


def details(*messages):
    status = Status()
    for message in messages:
        packed = Any()
        packed.Pack(message)
        status.details.append(packed)
    return [("grpc-status-details-bin", status.SerializeToString())]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (Duration(seconds=2, nanos=500_000_000), 2.5),
        (Duration(), 0.0),
        (Duration(seconds=-3), 0.0),
    ],
)
def test_a_duration_becomes_seconds_from_zero(duration, seconds):
    assert from_duration(duration) == seconds


def test_the_delay_is_found_among_other_metadata():
    metadata = [("x-trace", "1"), *retry_details(0.25)]

    assert from_trailing_metadata(metadata) == 0.25


def test_the_delay_is_found_among_other_details():
    retry = RetryInfo(retry_delay=Duration(seconds=1))

    assert from_trailing_metadata(details(BadRequest(), retry)) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        (),
        details(),
        details(BadRequest()),
        details(RetryInfo()),
        [("grpc-status-details-bin", b"\xff no message")],
        [("grpc-status-details-bin", "text")],
        [
            (
                "grpc-status-details-bin",
                Status(
                    details=[
                        Any(
                            type_url="type.googleapis.com/google.rpc.RetryInfo",
                            value=b"\xff no message",
                        )
                    ]
                ).SerializeToString(),
            )
        ],
    ],
)
def test_metadata_without_a_readable_delay_has_none(metadata):
    assert from_trailing_metadata(metadata) is None
