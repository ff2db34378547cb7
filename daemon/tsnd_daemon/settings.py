"""All settings of the daemon, with what they must be by themselves and beside one another."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    CliImplicitFlag,
    CliSuppress,
    NoDecode,
    SettingsConfigDict,
)

from tsnd_daemon.versions import VersionPolicy, parse_version_policy

Backend = Literal[
    "auto",
    "tensorrt",
    "tensorrt-rtx",
    "cuda",
    "nv-tensorrt-rtx",
    "openvino",
    "onnxruntime",
    "synthetic",
]
"""What runs a model; the two of ONNX Runtime's for GPUs are cuda and nv-tensorrt-rtx."""

Precision = Literal["auto", "fp32", "fp16", "int8"]
"""Which of a package's graphs or plans is run."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Bounds of one model's batching; sizes in snippets."""

    max_batch_size: int
    max_queue_delay_us: int
    max_queue_size: int
    preferred_batch_sizes: tuple[int, ...] = ()
    stream_quantum: int = 1


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How one model is run.

    Attributes:
        backend: Which runtime; auto takes the first that the package and the machine have.
        precision: Which graph; auto takes the fastest that needs no INT8 calibration.
        max_batch_size: Most snippets in one execution.
        devices: Numbers of the GPUs, for backends that use one.
        instances: Executors for each device; 0 chooses by measurement on CPUs, 1 on GPUs.
        slots: Batches that an executor on a GPU holds at a time.
        threads: CPU threads for all instances of a model; 0 takes all cores.
    """

    backend: Backend
    precision: Precision
    max_batch_size: int
    devices: tuple[int, ...] = (0,)
    instances: int = 0
    slots: int = 2
    threads: int = 0


def _checked(policy: str) -> str:
    parse_version_policy(policy)
    return policy


_VersionPolicyText = Annotated[str, AfterValidator(_checked)]


class ModelOptions(BaseModel):
    """What a [models.NAME] table of the file says; what it leaves out is as for all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Backend | None = None
    precision: Precision | None = None
    version_policy: _VersionPolicyText | None = None
    instances: int | None = Field(default=None, ge=0, le=64)
    weight: float = Field(default=1.0, gt=0, le=1000)


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
        description="address to listen on; another than loopback needs TLS, or insecure",
    )
    port: int = Field(8001, ge=0, le=65535, description="port of gRPC; 0 picks a free one")
    metrics_port: int = Field(
        8002, ge=0, le=65535, description="port of Prometheus metrics; 0 picks a free one"
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="address to serve metrics on, over plain HTTP and to anyone: they tell the "
        "names of models and how much is asked of them",
    )
    tls_certificate: Path | None = Field(
        None,
        description="file of the daemon's certificate and those up to its authority's, in PEM; "
        "read again on SIGHUP",
    )
    tls_key: Path | None = Field(None, description="file of its private key, in PEM, in the clear")
    tls_client_ca: Path | None = Field(
        None,
        description="file of authorities, in PEM; only clients with a certificate of one of them "
        "can connect then",
    )
    tokens: Path | None = Field(
        None,
        description="file of the tokens that calls are let in with, as `tsnd token new` prints "
        "them; read again on SIGHUP. Without it there is no authentication",
    )
    insecure: CliImplicitFlag[bool] = Field(
        False,
        description="listen on any address without TLS: whoever is on the way can read and "
        "change everything, tokens too",
    )
    backend: Backend = Field(
        "auto",
        description="what runs the models; auto takes the first of tensorrt, tensorrt-rtx, cuda, "
        "openvino and onnxruntime that a package and the machine have; synthetic runs none and "
        "answers from the pixels, to measure the daemon alone",
    )
    precision: Precision = Field(
        "auto",
        description="which graph of each package is run; auto takes fp16 on a GPU and fp32 on a "
        "CPU. On CPUs int8 is the fastest, best with VNNI or AMX; tsn-build inspect shows what it "
        "costs in accuracy",
    )
    device: Annotated[tuple[NonNegativeInt, ...], NoDecode] = Field(
        (0,), description="numbers of the GPUs to use, such as 0,1; each model runs on all of them"
    )
    instances: int = Field(
        0,
        ge=0,
        le=64,
        description="executors of each model, on a GPU for each device; 0 measures what is best "
        "on a CPU and takes 1 on a GPU",
    )
    slots: int = Field(
        2,
        ge=1,
        le=16,
        description="batches that a GPU executor holds at a time, so that one is copied in while "
        "another is computed. Each needs GPU and pinned memory of its own",
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
    preferred_batch_sizes: Annotated[tuple[PositiveInt, ...], NoDecode] = Field(
        (),
        description="sizes that run at once on an idle executor, without waiting for company; "
        "such as 4,8",
    )
    max_queue_size: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="most snippets that wait per model; beyond it bulk is shed first, and what "
        "cannot wait is refused with RESOURCE_EXHAUSTED and a time to try again. Each holds its "
        "pixels: 261 KB for an rgb frame of 256 x 340",
    )
    max_in_flight_per_stream: int = Field(
        32,
        ge=1,
        le=100_000,
        description="most unanswered snippets of one stream, but for the rest of a message; then "
        "the daemon stops reading it and flow control slows that client alone",
    )
    stream_quantum: int = Field(
        8,
        ge=1,
        le=1024,
        description="snippets taken from one stream before it is the next stream's turn; more "
        "keeps together what a stream sends together, less divides a batch among more streams. A "
        "stream that had nothing waiting has its first turn at once",
    )
    max_group_size: int = Field(
        16,
        ge=1,
        le=1024,
        description="most snippets in one message; bounds how large a message may be",
    )
    max_streams: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="most streams that are open at a time, all clients together; others are "
        "refused with RESOURCE_EXHAUSTED",
    )
    max_metadata_bytes: int = Field(
        16_384,
        ge=1024,
        le=1024**2,
        description="most metadata of one call; calls with more are refused",
    )
    keepalive_interval_s: float = Field(
        30.0,
        ge=1,
        le=86_400,
        description="how long a connection may be silent before its client is asked for a sign of "
        "life, seconds. Less notices sooner that a host has gone; each sign costs a packet",
    )
    keepalive_timeout_s: float = Field(
        10.0,
        ge=0.1,
        le=3600,
        description="how long that sign may take, seconds; then the connection counts as broken, "
        "and what waits of it is dropped",
    )
    max_shared_memory_regions: int = Field(
        256,
        ge=0,
        le=100_000,
        description="most shared memory objects of clients on this host that are open at a time, "
        "all clients together; 0 turns shared memory off",
    )
    max_shared_memory_region_bytes: int = Field(
        1024**3,
        ge=1,
        description="largest part of a shared memory object that a client may name",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads that decode JPEG snippets, for all models; 0 takes all cores",
    )
    compute_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads for each model's execution; 0 takes all cores",
    )
    execution_timeout_s: float = Field(
        60.0,
        gt=0,
        description="longest that an execution may take, seconds; after it the executor counts "
        "as hanging, and the daemon ends so that it can be started anew",
    )
    model_control: Literal["none", "poll", "explicit"] = Field(
        "none",
        description="whether models change while the daemon runs: never; when the repository "
        "does, which is looked at every poll_interval_s; or when LoadModel and UnloadModel are "
        "called",
    )
    poll_interval_s: float = Field(
        15.0, gt=0, description="how often poll looks at the repository, seconds"
    )
    version_policy: _VersionPolicyText = Field(
        "latest:1",
        description="which versions of each model are served: latest:N, all, or specific:1,3",
    )
    pairs: dict[str, str] = Field(
        {},
        description="two-stream pairs: a name and the two models it stands for, of which each "
        "snippet's modality chooses one; such as kinetics=kinetics_rgb+kinetics_flow",
    )
    models: CliSuppress[dict[str, ModelOptions]] = Field(
        {},
        description="what differs for single models, by name: backend, precision, instances, "
        "version_policy, weight (its share of a device that models compete for)",
    )
    drain_grace_s: float = Field(
        30.0,
        ge=0,
        description="longest that accepted snippets may take to be answered after SIGTERM, seconds",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="how much is logged"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="lines for people, or one JSON object a line for programs"
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://[^/]+$",
        description="an OpenTelemetry collector that takes OTLP over gRPC, such as "
        "http://127.0.0.1:4317; without it there are no traces",
    )
    trace_ratio: float = Field(
        0.01, ge=0, le=1, description="part of the messages that are traced, 0 to 1"
    )

    @field_validator("device", "preferred_batch_sizes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Read 0,1 as two numbers."""
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_across(self) -> Self:
        if self.max_queue_size < self.max_batch_size:
            raise ValueError(
                f"max_queue_size {self.max_queue_size} is less than max_batch_size "
                f"{self.max_batch_size}, so no batch could fill: raise the first or lower the "
                "second"
            )
        if max(self.preferred_batch_sizes, default=0) > self.max_batch_size:
            raise ValueError(
                f"preferred_batch_sizes {max(self.preferred_batch_sizes)} is more than "
                f"max_batch_size {self.max_batch_size}: lower the first or raise the second"
            )
        if not self.device or len(set(self.device)) < len(self.device):
            raise ValueError(f"device {self.device}: name one or more GPUs, each once")
        for name, models in self.two_stream_pairs.items():
            if len(models) != 2 or not all(models):
                raise ValueError(
                    f"pairs {name}={'+'.join(models)}: expected two models with a plus between"
                )
        self._check_security()
        if self.port and self.port == self.metrics_port:
            raise ValueError(f"port and metrics_port are both {self.port}: choose two ports")
        return self

    def _check_security(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            given, other = "tls_certificate", "tls_key"
            if self.tls_certificate is None:
                given, other = other, given
            raise ValueError(f"{given} without {other}: name both, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(
                "tls_client_ca without tls_certificate: clients show their certificates over TLS "
                "only. Name tls_certificate and tls_key, too"
            )
        if is_loopback(self.host):
            return
        if self.tls_certificate is None and not self.insecure:
            raise ValueError(
                f"host {self.host!r} is open to a network, and nothing is encrypted: name "
                "tls_certificate and tls_key, or set insecure where that is well"
            )
        if self.model_control == "explicit" and self.tokens is None:
            raise ValueError(
                f"host {self.host!r} is open to a network, where anyone could change models by "
                "model_control explicit: name a file of tokens, of which one has the right admin"
            )

    @property
    def batch_policy(self) -> BatchPolicy:
        """The part that a batcher needs."""
        return BatchPolicy(
            self.max_batch_size,
            self.max_queue_delay_us,
            self.max_queue_size,
            self.preferred_batch_sizes,
            self.stream_quantum,
        )

    @property
    def two_stream_pairs(self) -> dict[str, tuple[str, ...]]:
        """The models that each pair's name stands for."""
        return {name: tuple(models.split("+")) for name, models in self.pairs.items()}

    def execution_options(self, model: str) -> ExecutionOptions:
        """The part that the executors of a model need."""
        own = self.models.get(model, ModelOptions())
        return ExecutionOptions(
            backend=own.backend or self.backend,
            precision=own.precision or self.precision,
            max_batch_size=self.max_batch_size,
            devices=self.device,
            instances=self.instances if own.instances is None else own.instances,
            slots=self.slots,
            threads=self.compute_threads,
        )

    def version_policy_of(self, model: str) -> VersionPolicy:
        """Which versions of a model are served."""
        own = self.models.get(model, ModelOptions()).version_policy
        return parse_version_policy(own or self.version_policy)

    def weight_of(self, model: str) -> float:
        """A model's share of a device, relative to the others'."""
        return self.models.get(model, ModelOptions()).weight


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reached from this host alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
