"""The daemon's certificate, which can be changed while connections are open.

gRPC asks for it at every new connection, on threads of its own; those that are open keep
the one they began with.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from tsnd_daemon.errors import SettingsError

_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Files in PEM.

    Attributes:
        certificate: The daemon's, and those between it and its authority, in this order.
        key: Its private key, not encrypted.
        client_ca: Of the authorities whose clients are let in; None asks clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificates:
    """What connections are secured with."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read them.

        Raises:
            SettingsError: When one is missing, or they do not belong together.
        """
        self._asks_clients = files.client_ca is not None
        self._current = _load(files)

    def reload(self, files: CertificateFiles) -> None:
        """Take these for connections that begin from now on.

        Raises:
            SettingsError: As at first; those from before stay then.
        """
        if self._asks_clients != (files.client_ca is not None):
            raise SettingsError(
                "whether clients need a certificate (tls_client_ca) is settled when the daemon "
                "starts: start it anew."
            )
        self._current = _load(files)

    def credentials(self) -> grpc.ServerCredentials:
        """Return them for a server; they follow `reload`."""
        return grpc.dynamic_ssl_server_credentials(
            self._current, lambda: self._current, require_client_authentication=self._asks_clients
        )


def _load(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    certificate = _read(files.certificate, "tls-certificate")
    key = _read(files.key, "tls-key")
    _check_pair(files)
    authorities = None
    if files.client_ca is not None:
        authorities = _read(files.client_ca, "tls-client-ca")
        _check_authorities(authorities, files.client_ca)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)


def _read(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise SettingsError(f"--{flag} {path}: {err.strerror}") from err


def _check_pair(files: CertificateFiles) -> None:
    """Refuse what gRPC would take without a word, and then fail every connection."""

    def refuse_to_ask() -> str:
        raise SettingsError(
            f"--tls-key {files.key} is encrypted, and there is nobody to ask for its password: "
            "give the key in the clear, readable for the daemon's user alone"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            files.certificate, files.key, password=refuse_to_ask
        )
    except (OSError, ValueError) as err:
        raise SettingsError(
            f"--tls-certificate {files.certificate} and --tls-key {files.key} are no certificate "
            f"and its key, in PEM: {err}"
        ) from err


def _check_authorities(text: bytes, path: Path) -> None:
    try:
        if _BEGIN not in text:
            raise ValueError("there is none in it")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text.decode())
    except (ValueError, ssl.SSLError) as err:
        raise SettingsError(f"--tls-client-ca {path} has no certificates in PEM: {err}") from err
