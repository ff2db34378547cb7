"""The addresses that the daemon listens on: whether they are free, and the one with metrics."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from tsnd_daemon.errors import AddressError


def check_free(host: str, port: int, setting: str) -> None:
    """Refuse an address that is taken or not ours, in words of our own."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as err:
        raise AddressError(
            f"--host {host!r} is not an address of this machine: {err}. Give an IP address without "
            "brackets, or a host name."
        ) from err
    try:
        for family, kind, *_, address in infos:  # all of them: gRPC would bind some and go on
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as err:
        raise _unbindable(host, port, setting, err) from err


def _unbindable(host: str, port: int, setting: str, err: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {joined(host, port)}: {err.strerror}. Is another tsnd running? "
        f"Choose another with --{setting} (0 picks a free one) or --{setting[:-4]}host."
    )


@contextmanager
def metrics_endpoint(host: str, port: int, registry: CollectorRegistry) -> Iterator[str]:
    """Serve metrics over HTTP from a thread; yields host:port."""
    try:
        httpd, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as err:
        raise _unbindable(host, port, "metrics-port", err) from err
    try:
        yield joined(host, httpd.server_port)
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def joined(host: str, port: int) -> str:
    """Write an address as gRPC and URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
