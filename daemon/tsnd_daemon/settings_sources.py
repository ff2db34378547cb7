"""The only reader of file, environment and flags, which become Settings.

Flags win over the environment (TSND_*), and that over the file (--config).
"""

import argparse
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.settings import Settings


def load_settings(argv: Sequence[str]) -> Settings:
    """Gather the settings from a file, the environment and the command line.

    Args:
        argv: Command-line arguments without the program's name. `--config FILE` names a
            TOML file with settings by their names.

    Returns:
        The settings.

    Raises:
        SettingsError: When one is missing, unknown, out of bounds or at odds with another.
        SystemExit: For --help, or for flags that do not exist.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--version", action="version", version=version("tsnd"))
    known, rest = parser.parse_known_args(argv)
    file = _read_toml(known.config) if known.config else {}

    class FromEverywhere(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, InitSettingsSource(settings_cls, init_kwargs=file)

    FromEverywhere.__doc__ = (
        "Score snippets of video streams over gRPC. Each setting can also be given as TSND_NAME "
        "in the environment, or by its name in the TOML file that --config names. Other commands: "
        "tsnd check-config, with the same flags; tsnd token new NAME."
    )
    try:
        return FromEverywhere(_cli_parse_args=list(rest))  # type: ignore[call-arg]
    except ValidationError as err:
        raise SettingsError("; ".join(map(_describe, err.errors()))) from err
    except pydantic_settings.SettingsError as err:
        raise SettingsError(f"{err}; tsnd --help tells what each setting takes") from err


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as err:
        raise SettingsError(f"--config {path}: {err.strerror}") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SettingsError(f"--config {path} is not valid TOML: {err}") from err


def _describe(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails, a loose dict
    """Turn one of pydantic's findings into a sentence with the flag to change."""
    name = ".".join(str(part) for part in error["loc"])
    flag = f"--{name.replace('_', '-')}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{flag} is required (or TSND_{name.upper()}, or {name} in the --config file)"
    if error["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; tsnd --help lists them"
    return f"{flag} {error['input']!r}: {message}" if name else message
