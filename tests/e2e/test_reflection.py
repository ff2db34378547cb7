"""A client that knows no proto: whatever it sends, it has learned from the daemon."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import simplejpeg
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from contracts.elements import PROTOS, compile_protos, elements
from tests.daemons import running_daemon

API = Path(__file__).parents[2] / "docs" / "api.md"


class Stranger:
    """Calls a daemon by names, with JSON."""

    def __init__(self, channel):
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)

    def services(self):
        """Name the services and their methods."""
        names = self._database.get_services()
        return {name: set(self._pool.FindServiceByName(name).methods_by_name) for name in names}

    def call(self, service, name, request):
        """Call a method that neither takes nor returns a stream."""
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        invoke = self._channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = invoke(ParseDict(request, GetMessageClass(method.input_type)()))
        return MessageToDict(answer, preserving_proto_field_name=True)


@pytest.fixture
def asking(tiny_repository):
    """Let strangers ask a daemon: await ask(lambda stranger: ...)."""

    @asynccontextmanager
    async def run():
        async with running_daemon(tiny_repository) as daemon:

            def ask(question):
                with grpc.insecure_channel(daemon.endpoints.grpc) as channel:
                    return question(Stranger(channel))

            yield lambda question: asyncio.to_thread(ask, question)

    return run


def documented_request(jpeg):
    """Return the request of the example in docs/api.md, with a frame in its place."""
    _, _, example = API.read_text().partition("Score <<END\n")
    text = example.partition("END\n")[0]
    return json.loads(
        text.replace("$(base64 -w0 frame.jpg)", base64.b64encode(jpeg).decode()).replace(
            "kinetics_rgb", "tiny_rgb"
        )
    )


async def test_every_service_of_our_protos_is_listed_and_described(asking):
    declared = elements(compile_protos(PROTOS))

    async with asking() as ask:
        services = await ask(Stranger.services)

    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} < set(services)
    for service in (one for one in declared if one.kind == "service"):
        rpcs = {one.proto.name for one in declared if one.owner is service}
        assert services.get(service.name) == rpcs, service.name


async def test_a_stranger_learns_what_a_model_takes_and_gets_scores(asking):
    def score(stranger):
        service = "tsnd.v1.SnippetService"
        manifest = stranger.call(service, "GetModel", {"name": "tiny_rgb"})["manifest"]
        shape = manifest["input"]["shape"]
        pixels = base64.b64encode(bytes(np.prod(shape))).decode()
        snippet = {"id": "a", "modality": manifest["modality"], "shape": shape, "raw": pixels}
        request = {"model": manifest["name"], "snippets": [snippet]}
        return manifest, stranger.call(service, "Score", request)

    async with asking() as ask:
        manifest, answer = await ask(score)

    scores = next(output for output in answer["outputs"] if output["name"] == "scores")
    values = np.frombuffer(base64.b64decode(scores["data"]), "<f4")
    assert answer["snippet_id"] == "a"
    assert values.shape == (len(manifest["labels"]),)
    assert np.isfinite(values).all()


async def test_the_call_that_the_api_page_shows_is_answered(asking):
    jpeg = simplejpeg.encode_jpeg(np.full((16, 21, 3), 99, np.uint8), colorspace="BGR")
    request = documented_request(jpeg)

    async with asking() as ask:
        answer = await ask(lambda one: one.call("tsnd.v1.SnippetService", "Score", request))

    assert len(answer["top"]) == 5
    assert "outputs" not in answer


async def test_clients_of_a_newer_reflection_are_told_to_fall_back(asking):
    def ask_v1(stranger):
        method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        with pytest.raises(grpc.RpcError) as caught:
            next(stranger._channel.stream_stream(method)(iter([b""])))
        return caught.value.code()

    async with asking() as ask:
        assert await ask(ask_v1) is grpc.StatusCode.UNIMPLEMENTED
