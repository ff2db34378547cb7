"""Certificates of authorities that last as long as a test."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc
import trustme

from tsnd_client import Tls


@dataclass
class Authority:
    """An authority, whose files are in a folder of its own."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.certificate = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.certificate))

    def issue(self, name: str = "daemon", *hosts: str) -> tuple[Path, Path]:
        """Write a certificate and its key, over those of that name before; returns the files."""
        issued = self.ca.issue_cert(*(hosts or ("127.0.0.1", "localhost")))
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def tls(self, name: str | None = None) -> Tls:
        """What a client trusts; with a name it has a certificate of its own as well."""
        return Tls(self.certificate, *(self.issue(name, f"{name}@example.org") if name else ()))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.certificate.read_bytes())
