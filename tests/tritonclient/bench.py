"""KServe v2 by Triton's own client, against a server of a few lines with Triton's own messages."""

import grpc
import pytest
from grpc import aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.bench_arguments import bench_arguments
from tsnd_client import DaemonUnavailable, InputError, ModelNotFound
from tsnd_client.bench.command import bench
from tsnd_client.bench.kserve import open_kserve
from tsnd_client.bench.plan import to_plan

PRIORITY, TIMEOUT_US = 3, 50_000


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves models of an input's shape; refuses every other request where it is told to."""

    def __init__(self, shapes, *, datatype="UINT8", refuses=False):
        self.shapes, self.datatype, self.refuses = shapes, datatype, refuses
        self.requests = []

    async def ModelMetadata(self, request, context):
        if request.name != "net":
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is net")
        reply = service_pb2.ModelMetadataResponse(name="net", versions=["1", "2"], platform="toy")
        for number, shape in enumerate(self.shapes):
            reply.inputs.add(name=f"in{number}", datatype=self.datatype, shape=shape)
        return reply

    async def ModelInfer(self, request, context):
        self.requests.append(request)
        if self.refuses and len(self.requests) % 2:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return service_pb2.ModelInferResponse(model_name="net", model_version="2")


@pytest.fixture
async def serve():
    servers = []

    async def start(*shapes, **options):
        server, service = aio.server(), Server(shapes, **options)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}", service

    yield start
    for server in servers:
        await server.stop(None)


async def load(target, *arguments):
    command = ["--model", "net", "--target", target, "--protocol", "kserve"]
    command += ["--warm-up-s", "0", "--duration-s", "0.3", *arguments]
    results = await bench(to_plan(bench_arguments(*command)))
    return results.runs[0]


async def test_requests_carry_a_group_its_priority_and_its_timeout(serve):
    target, service = await serve([-1, 4, 6, 3])
    streams = "count=2,group=4,rate=100,priority=bulk,timeout_ms=50"
    run = await load(target, "--stream", streams)

    request = service.requests[0]
    assert list(request.inputs[0].shape) == [4, 4, 6, 3]
    assert len(request.raw_input_contents[0]) == 4 * 4 * 6 * 3
    assert request.parameters["priority"].uint64_param == PRIORITY
    assert request.parameters["timeout"].int64_param == TIMEOUT_US
    assert run.accounts_close
    assert run.all.answered == run.all.due == 4 * len(service.requests)
    assert run.mean_batch == 0


async def test_refusals_are_counted_by_code(serve):
    target, _ = await serve([-1, 2], refuses=True)
    run = await load(target, "--in-flight", "2", "--streams", "2")

    assert run.accounts_close
    assert set(run.all.refused) == {"RESOURCE_EXHAUSTED"}


async def test_a_server_says_what_it_serves(serve):
    target, _ = await serve([-1, 4, 6, 3])
    async with open_kserve(target, "net") as door:
        served = door.served

    assert (served.model, served.version, served.backend) == ("net", "2", "toy")
    assert served.snippet_shape == (4, 6, 3)


@pytest.mark.parametrize("shapes", [([-1, -1, 3],), ([-1, 2], [-1, 2]), ()])
async def test_inputs_that_cannot_be_filled_are_refused(serve, shapes):
    target, _ = await serve(*shapes)

    with pytest.raises(InputError, match="fills a single one"):
        async with open_kserve(target, "net"):
            pass


async def test_an_input_of_texts_is_refused(serve):
    target, _ = await serve([-1, 2], datatype="BYTES")

    with pytest.raises(InputError, match=r"in0 BYTES \[-1, 2\]"):
        async with open_kserve(target, "net"):
            pass


async def test_an_unknown_model_is_named(serve):
    target, _ = await serve([-1, 2])

    with pytest.raises(ModelNotFound, match="'another'"):
        async with open_kserve(target, "another"):
            pass


async def test_a_server_that_is_not_there_is_named():
    with pytest.raises(DaemonUnavailable, match="no daemon serves at"):
        async with open_kserve("127.0.0.1:1", "net"):
            pass
