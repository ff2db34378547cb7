"""Whether a daemon serves: the standard health service for the whole, KServe's for each model.

The health service is the one that every orchestrator asks. It knows no models, and nobody's
version: these come from the KServe service, which every tsnd has.
"""

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tsnd.kserve import inference_pb2, inference_pb2_grpc
from tsnd.v1 import snippets_pb2, snippets_pb2_grpc

_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """One version of a model, and whether snippets for it are taken now."""

    name: str
    version: int
    serving: bool


@dataclass(frozen=True, slots=True)
class Health:
    """How a daemon is.

    Attributes:
        target: Who was asked, HOST:PORT.
        serving: Whether it takes new work.
        reason: Why it does not; empty when it does.
        version: Version of tsnd; empty when it did not say.
        models: What it has loaded, sorted by name and version; empty when it did not say.
    """

    target: str
    serving: bool
    reason: str = ""
    version: str = ""
    models: tuple[ModelHealth, ...] = ()


def ask_health(channel: grpc.Channel, target: str, deadline_s: float | None) -> Health:
    """Ask a daemon how it is; whatever keeps it from answering is the reason.

    Args:
        channel: The connection to it.
        target: Its address, HOST:PORT.
        deadline_s: Longest each question may take, seconds; None is for ever.
    """
    try:
        status = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=deadline_s
        )
        if status.status != _SERVING:
            name = health_pb2.HealthCheckResponse.ServingStatus.Name(status.status)
            return Health(target, serving=False, reason=f"the daemon says {name}")
        version = _ask_version(channel, deadline_s)
        models = _ask_models(channel, deadline_s)
    except grpc.RpcError as err:
        return Health(target, serving=False, reason=f"{err.code().name}: {err.details()}")
    unready = [f"{model.name} version {model.version}" for model in models if not model.serving]
    reason = f"models that take nothing: {', '.join(unready)}" if unready else ""
    return Health(target, not unready, reason, version, models)


def _ask_version(channel: grpc.Channel, deadline_s: float | None) -> str:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.ServerMetadata(inference_pb2.ServerMetadataRequest(), timeout=deadline_s).version


def _ask_models(channel: grpc.Channel, deadline_s: float | None) -> tuple[ModelHealth, ...]:
    listed = snippets_pb2_grpc.SnippetServiceStub(channel).ListModels(
        snippets_pb2.ListModelsRequest(), timeout=deadline_s
    )
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)

    def is_ready(name: str, version: int) -> bool:
        request = inference_pb2.ModelReadyRequest(name=name, version=str(version))
        return stub.ModelReady(request, timeout=deadline_s).ready

    return tuple(
        ModelHealth(model.name, model.version, is_ready(model.name, model.version))
        for model in listed.models
    )
