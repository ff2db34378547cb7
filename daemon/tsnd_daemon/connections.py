"""How clients' connections are opened and bounded: gRPC's options, and the port they come to."""

from grpc import aio

from tsnd_daemon.security.certificates import Certificates
from tsnd_daemon.settings import Settings

_HANDSHAKE_S = 10
"""Who has not said by then what it wants, over TLS if need be, is hung up on."""
_MIN_CLIENT_PING_S = 10
"""Clients that ask for signs of life more often are told so, and hung up on at the third time."""


def connection_options(settings: Settings, *, max_message_bytes: int) -> list[tuple[str, int]]:
    """Return the options of a gRPC server.

    Args:
        settings: The daemon's.
        max_message_bytes: The largest message to read.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        # The first is where gRPC begins to refuse at random, the second where it always does.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        # Of pings that measure the connection, too: while one of them is unanswered, which is a
        # minute if it is left at that, gRPC sends none for a sign of life.
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_CLIENT_PING_S * 1000),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_S * 1000),
        ("grpc.so_reuseport", 0),  # else a second daemon would silently share the port
    ]


def open_port(server: aio.Server, address: str, certificates: Certificates | None) -> int:
    """Let a server listen; returns its port.

    Args:
        server: Not started yet.
        address: HOST:PORT.
        certificates: Secure the connections; None leaves them open.

    Raises:
        RuntimeError: When the address cannot be bound.
    """
    if certificates is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, certificates.credentials())
