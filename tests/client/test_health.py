"""Health that only a daemon in trouble has, from a small real server that says so."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.client.toy_daemon import ToyDaemon, score_all
from tsnd.kserve import inference_pb2, inference_pb2_grpc
from tsnd.v1.snippets_pb2_grpc import add_SnippetServiceServicer_to_server
from tsnd_client import Client, Health, ModelHealth
from tsnd_client.report import health_lines


class OneIsUnready(inference_pb2_grpc.GRPCInferenceServiceServicer):
    def ServerMetadata(self, request, context):
        return inference_pb2.ServerMetadataResponse(name="tsnd", version="9.8.7")

    def ModelReady(self, request, context):
        return inference_pb2.ModelReadyResponse(ready=request.name != "toy-flow")


@pytest.fixture
def serve_health():
    """Start a server with a health status; of its services those that are given."""
    servers = []

    def start(status, *, add=lambda server: None):
        server = grpc.server(ThreadPoolExecutor(max_workers=2))
        service = health.HealthServicer()
        service.set("", status)
        health_pb2_grpc.add_HealthServicer_to_server(service, server)
        add(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=0).wait()


def ask(target):
    with Client(target, deadline_s=10) as client:
        return client.health()


def test_a_model_that_takes_nothing_is_named(serve_health):
    def add(server):
        add_SnippetServiceServicer_to_server(ToyDaemon(score_all), server)
        service = OneIsUnready()  # type: ignore[abstract]  # the rest is not asked for
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)

    target = serve_health(health_pb2.HealthCheckResponse.SERVING, add=add)

    assert ask(target) == Health(
        target,
        serving=False,
        reason="models that take nothing: toy-flow version 3",
        version="9.8.7",
        models=(ModelHealth("toy-flow", 3, False), ModelHealth("toy-rgb", 3, True)),
    )


def test_a_daemon_that_says_it_does_not_serve_is_believed(serve_health):
    target = serve_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    assert ask(target) == Health(target, serving=False, reason="the daemon says NOT_SERVING")


def test_a_server_of_another_kind_is_not_a_serving_daemon(serve_health):
    found = ask(serve_health(health_pb2.HealthCheckResponse.SERVING))

    assert not found.serving
    assert found.reason.startswith("UNIMPLEMENTED: ")


def test_lines_say_which_model_does_not_serve():
    models = (ModelHealth("flow", 3, False), ModelHealth("tsn_rgb", 12, True))

    assert health_lines(Health("gpu7:8001", False, "why", "1.2", models)) == [
        "tsnd 1.2 at gpu7:8001: not serving: why",
        "flow     version 3  not serving",
        "tsn_rgb  version 12  serving",
    ]
