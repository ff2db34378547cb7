"""All that guards a daemon: made from its settings, and renewed from them by SIGHUP."""

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.security.certificates import CertificateFiles, Certificates
from tsnd_daemon.security.door import Door
from tsnd_daemon.security.tokens import load_tokens
from tsnd_daemon.settings import Settings

RELOADED = frozenset({"tls_certificate", "tls_key", "tls_client_ca", "tokens", "log_level"})
"""The settings that may change while the daemon runs, as may the files that they name."""


class Guard:
    """The door and the certificates of one daemon.

    Attributes:
        door: Finds out who calls.
        certificates: Secure its connections; None where they are not secured.
    """

    def __init__(self, settings: Settings) -> None:
        """Read what the settings name; raises SettingsError."""
        self.door = Door(load_tokens(settings.tokens) if settings.tokens else None)
        files = certificate_files(settings)
        self.certificates = Certificates(files) if files else None

    def reload(self, settings: Settings) -> None:
        """Read it anew, all or nothing.

        Raises:
            SettingsError: When it cannot be used, or needs a new start; all stays as it was.
        """
        files = certificate_files(settings)
        if (files is None) != (self.certificates is None):
            raise SettingsError("TLS is turned on and off when the daemon starts: start it anew.")
        if (settings.tokens is None) != self.door.is_open:
            raise SettingsError("tokens are asked for from the start, or never: start it anew.")
        tokens = load_tokens(settings.tokens) if settings.tokens else None
        if self.certificates is not None and files is not None:
            self.certificates.reload(files)
        if tokens is not None:
            self.door.replace_tokens(tokens)


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """Return the files that secure connections; None when nothing does."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return CertificateFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
