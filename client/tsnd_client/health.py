"""Whether a daemon serves, by the health service that every orchestrator asks, and what."""

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tsnd.v1 import snippets_pb2, snippets_pb2_grpc
from tsnd_client.model_info import ModelSummary, to_model_summaries

_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class Health:
    """How a daemon is.

    Attributes:
        target: Who was asked, HOST:PORT.
        serving: Whether it takes new work.
        reason: Why it does not; empty when it does.
        version: Version of tsnd; empty when it did not say.
        models: What it serves, sorted by name and version; empty when it did not say.
    """

    target: str
    serving: bool
    reason: str = ""
    version: str = ""
    models: tuple[ModelSummary, ...] = ()


def ask_health(
    channel: grpc.Channel,
    stub: snippets_pb2_grpc.SnippetServiceStub,
    target: str,
    deadline_s: float | None,
) -> Health:
    """Ask a daemon how it is; whatever keeps it from answering is the reason.

    Args:
        channel: The connection to it.
        stub: Of its service, on that connection.
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
        listed = stub.ListModels(snippets_pb2.ListModelsRequest(), timeout=deadline_s)
    except grpc.RpcError as err:
        if (
            err.code() is grpc.StatusCode.UNAUTHENTICATED
        ):  # health is for all to see, models are not
            return Health(target, serving=True)
        return Health(target, serving=False, reason=f"{err.code().name}: {err.details()}")
    models = to_model_summaries(listed)
    return Health(target, serving=True, version=listed.daemon_version, models=models)
