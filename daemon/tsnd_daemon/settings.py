"""All settings of the daemon, and the only reader of file, environment and flags.

Flags win over the environment (TSND_*), and that over the file (--config).
"""

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from tsnd_daemon.errors import SettingsError


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Bounds of one model's batching; sizes in snippets."""

    max_batch_size: int
    max_queue_delay_us: int
    max_queue_size: int


class Settings(BaseSettings):
    """Every setting with its default, bounds and unit."""

    model_config = SettingsConfigDict(
        env_prefix="TSND_",
        frozen=True,
        extra="forbid",
        cli_prog_name="tsnd",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    model_repository: Path = Field(description="folder of model packages, as tsn-build writes them")
    host: str = Field(
        "127.0.0.1",
        description="address to listen on. There is no encryption or authentication yet: open it "
        "to a network only behind something that has them",
    )
    port: int = Field(8001, ge=0, le=65535, description="port of gRPC; 0 picks a free one")
    metrics_port: int = Field(
        8002, ge=0, le=65535, description="port of Prometheus metrics; 0 picks a free one"
    )
    executor: Literal["onnxruntime", "openvino", "synthetic"] = Field(
        "onnxruntime",
        description="what runs the models; openvino is faster on x86 CPUs, above all in int8, and "
        "an extra; synthetic runs none and answers from the pixels, to measure the daemon alone",
    )
    precision: Literal["fp32", "fp16", "int8"] = Field(
        "fp32",
        description="which graph of each package is run. On CPUs int8 is the fastest, best with "
        "VNNI or AMX, and fp16 the slowest; tsn-build inspect shows what int8 costs in accuracy",
    )
    max_batch_size: int = Field(
        8,
        ge=1,
        le=1024,
        description="most snippets in one execution. More raises throughput on a GPU, and the "
        "latency of each snippet",
    )
    max_queue_delay_us: int = Field(
        2000,
        ge=0,
        le=10_000_000,
        description="longest that an idle executor waits for a fuller batch, microseconds. More "
        "fills batches when traffic is thin, and adds as much latency",
    )
    max_queue_size: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="most snippets that wait per model; beyond it they are refused with "
        "RESOURCE_EXHAUSTED. Each holds its pixels: 261 KB for an rgb frame of 256 x 340",
    )
    max_in_flight_per_stream: int = Field(
        32,
        ge=1,
        le=100_000,
        description="most unanswered snippets of one stream; then the daemon stops reading it "
        "and flow control slows that client alone",
    )
    compute_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads for each model's execution; 0 takes all cores",
    )
    drain_grace_s: float = Field(
        30.0,
        ge=0,
        description="longest that accepted snippets may take to be answered after SIGTERM, seconds",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="how much is logged"
    )

    @model_validator(mode="after")
    def _check_across(self) -> Self:
        if self.max_queue_size < self.max_batch_size:
            raise ValueError(
                f"max_queue_size {self.max_queue_size} is less than max_batch_size "
                f"{self.max_batch_size}, so no batch could fill: raise the first or lower the "
                "second"
            )
        if self.port and self.port == self.metrics_port:
            raise ValueError(f"port and metrics_port are both {self.port}: choose two ports")
        return self

    @property
    def batch_policy(self) -> BatchPolicy:
        """The part that a batcher needs."""
        return BatchPolicy(self.max_batch_size, self.max_queue_delay_us, self.max_queue_size)


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
        "in the environment, or by its name in the TOML file that --config names."
    )
    try:
        return FromEverywhere(_cli_parse_args=list(rest))  # type: ignore[call-arg]
    except ValidationError as err:
        raise SettingsError("; ".join(map(_describe, err.errors()))) from err


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
