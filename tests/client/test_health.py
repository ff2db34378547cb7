"""Health of daemons in every state, from a small real server that says so."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.client.toy_daemon import ToyDaemon, score_all
from tsnd.v1.snippets_pb2_grpc import add_SnippetServiceServicer_to_server
from tsnd_client import Client, Health, Modality, ModelSummary
from tsnd_client.report import health_lines


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


def test_a_daemon_that_serves_is_told_with_its_models(serve_health):
    def add(server):
        add_SnippetServiceServicer_to_server(ToyDaemon(score_all), server)

    found = ask(serve_health(health_pb2.HealthCheckResponse.SERVING, add=add))

    assert (found.serving, found.reason) == (True, "")
    assert [model.name for model in found.models] == ["toy-flow", "toy-rgb"]


def test_a_daemon_that_says_it_does_not_serve_is_believed(serve_health):
    target = serve_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    assert ask(target) == Health(target, serving=False, reason="the daemon says NOT_SERVING")


def test_a_server_of_another_kind_is_not_a_serving_daemon(serve_health):
    found = ask(serve_health(health_pb2.HealthCheckResponse.SERVING))

    assert not found.serving
    assert found.reason.startswith("UNIMPLEMENTED: ")


def test_lines_say_what_is_served():
    models = (
        ModelSummary("flow", 3, Modality.FLOW, 400),
        ModelSummary("tsn_rgb", 12, Modality.RGB, 400),
    )

    assert health_lines(Health("gpu7:8001", True, "", "1.2", models)) == [
        "tsnd 1.2 at gpu7:8001: serving",
        "flow     version 3  flow",
        "tsn_rgb  version 12  rgb",
    ]


def test_lines_say_why_nothing_is():
    assert health_lines(Health("gpu7:8001", False, "why")) == [
        "tsnd at gpu7:8001: not serving: why"
    ]
