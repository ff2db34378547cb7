"""`tsnd check-config`: says whether a daemon would start with these settings.

Nothing is loaded or bound; a daemon that runs is not disturbed.
"""

from collections.abc import Sequence

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.model_store import find_versions
from tsnd_daemon.security.guard import Guard
from tsnd_daemon.settings import Settings
from tsnd_daemon.settings_sources import load_settings


def check_config(argv: Sequence[str]) -> str:
    """Look at the settings, the files that they name and the repository.

    Args:
        argv: Flags of `tsnd`.

    Returns:
        What was found, in a few lines.

    Raises:
        StartError: When the daemon would not start; the message tells the remedy.
    """
    settings = load_settings(argv)
    guard = Guard(settings)
    packages = find_versions(settings.model_repository)
    unknown = sorted(settings.models.keys() - packages.keys())
    if unknown and settings.model_control == "none":
        raise SettingsError(
            f"there are settings for {', '.join(unknown)}, and no such model in "
            f"{settings.model_repository}. Look at the names of the [models.NAME] tables."
        )
    return "\n".join(
        (
            f"gRPC on {settings.host} port {settings.port}, {_describe(settings, guard)}",
            f"metrics on {settings.metrics_host} port {settings.metrics_port}",
            f"models in {settings.model_repository}: {', '.join(sorted(packages)) or 'none yet'}",
            "the settings are fine",
        )
    )


def _describe(settings: Settings, guard: Guard) -> str:
    """Say how connections are secured."""
    tls = "without TLS"
    if guard.certificates is not None:
        tls = "TLS" if settings.tls_client_ca is None else "TLS for clients with a certificate"
    return f"{tls}, {'no tokens' if guard.door.is_open else 'tokens asked for'}"
