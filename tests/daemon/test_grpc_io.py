import pytest

from tsnd_daemon import grpc_io
from tsnd_daemon.grpc_io import prefer_older_io


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("1.79.3", {}),
        ("1.80.0rc1", {"GRPC_EXPERIMENTS": "-event_engine_listener"}),
        ("1.85.1", {"GRPC_EXPERIMENTS": "-event_engine_listener"}),
        ("1.86.0", {}),
        ("2.0", {}),
    ],
)
def test_the_older_way_is_taken_where_grpc_has_it(monkeypatch, release, expected):
    monkeypatch.setattr(grpc_io, "version", lambda _name: release)
    environment: dict[str, str] = {}

    prefer_older_io(environment)

    assert environment == expected


def test_what_the_operator_says_holds():
    environment = {"GRPC_EXPERIMENTS": ""}

    prefer_older_io(environment)

    assert environment == {"GRPC_EXPERIMENTS": ""}
