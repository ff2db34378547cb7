"""How a client reaches a daemon: its certificates, its token, and the channel they go over."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc

from tsnd_client.errors import CredentialsError

_TOKEN, _TOKEN_FILE = "TSND_TOKEN", "TSND_TOKEN_FILE"
_CA, _CERTIFICATE, _KEY = "TSND_CA", "TSND_CLIENT_CERTIFICATE", "TSND_CLIENT_KEY"

Stub = TypeVar("Stub")
Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption, and whom to trust; files are in PEM.

    Attributes:
        ca: The authorities that the daemon's certificate has to be of; None takes those that
            gRPC brings along, which know certificates of public hosts.
        certificate: This client's own, and those up to its authority's, for a daemon that
            asks for one.
        key: Its private key.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises CredentialsError."""
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError("a client's certificate and its key go together: name both.")
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.key),
            certificate_chain=_read(self.certificate),
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a daemon is, and with what it is reached.

    Attributes:
        target: HOST:PORT.
        token: Sent with every call; None sends none.
        tls: None sends everything in the clear.
    """

    target: str
    token: str | None = None
    tls: Tls | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """What each call carries; None when that is nothing."""
        return None if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def open(self, options: Options) -> grpc.Channel:
        """Make a channel; the connection is made by the first call. Raises CredentialsError."""
        if self.tls is None:
            return grpc.insecure_channel(self.target, options=options)
        return grpc.secure_channel(self.target, self.tls.credentials(), options=options)

    def open_async(self, options: Options) -> grpc.aio.Channel:
        """Make a channel of asyncio; see `open`."""
        if self.tls is None:
            return grpc.aio.insecure_channel(self.target, options=options)
        return grpc.aio.secure_channel(self.target, self.tls.credentials(), options=options)

    def authorize(self, stub: Stub) -> Stub:
        """Let a stub, of either API, send the token with each call; returns the stub.

        gRPC's own credentials for tokens would refuse to send one to a daemon on this host
        that has no certificate, and interceptors would slow streams down.
        """
        if self.metadata is not None:
            for name, call in vars(stub).items():
                setattr(stub, name, partial(call, metadata=self.metadata))
        return stub


def to_connection(
    target: str,
    *,
    token: str | None = None,
    tls: Tls | None = None,
    allow_plaintext_token: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Complete what was given by what the environment says.

    Args:
        target: HOST:PORT.
        token: None takes TSND_TOKEN, or what is in the file TSND_TOKEN_FILE; an empty one is
            none at all.
        tls: None takes the files TSND_CA, TSND_CLIENT_CERTIFICATE and TSND_CLIENT_KEY where one
            of them is set, and else no encryption.
        allow_plaintext_token: Whether a token may leave this host without encryption.
        environment: Where variables are looked up.

    Raises:
        CredentialsError: When a token would be sent for all to read, or cannot be read or sent.
    """
    token = _token_of(environment) if token is None else token
    if tls is None and any(environment.get(name) for name in (_CA, _CERTIFICATE, _KEY)):
        tls = Tls(*(environment.get(name) or None for name in (_CA, _CERTIFICATE, _KEY)))
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise CredentialsError("the token has characters that no token has; was it cut out wrong?")
    if token and tls is None and not (is_loopback(target) or allow_plaintext_token):
        raise CredentialsError(
            f"a token for {target} would be sent in the clear, for everyone on the way to read. "
            "Use TLS: tls=Tls(ca=...) or TSND_CA. Where the network is safe already, say "
            "allow_plaintext_token=True."
        )
    return Connection(target, token or None, tls)


def is_loopback(target: str) -> bool:
    """Say whether what is sent to a target never leaves this host.

    Args:
        target: HOST:PORT, [HOST]:PORT or unix:PATH.
    """
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token_of(environment: Mapping[str, str]) -> str:
    if token := environment.get(_TOKEN, ""):
        return token.strip()
    if path := environment.get(_TOKEN_FILE, ""):
        content = _read(path) or b""
        return content.decode(errors="replace").strip()
    return ""


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as err:
        raise CredentialsError(f"{path} cannot be read: {err.strerror}.") from err
