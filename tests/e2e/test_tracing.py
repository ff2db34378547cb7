"""Traces of a daemon, as a collector gets them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc

from tests.daemons import running_daemon
from tests.kserve import infer_request, stub_of
from tests.streams import request
from tsnd_daemon.executors.synthetic import SyntheticExecutor

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector():
    """A collector that keeps all; yields its URL and the spans."""
    spans = []

    class Keeping(service_grpc.TraceServiceServicer):
        def Export(self, sent, _context):
            for of_resource in sent.resource_spans:
                for scope in of_resource.scope_spans:
                    spans.extend(scope.spans)
            return service_pb2.ExportTraceServiceResponse()

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        service_grpc.add_TraceServiceServicer_to_server(Keeping(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}", spans
        finally:
            server.stop(None).wait()


def traced(repository, url, ratio):
    return running_daemon(
        repository, make_executor=SyntheticExecutor, otlp_endpoint=url, trace_ratio=ratio
    )


def children(spans, parent):
    found = [span for span in spans if span.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


async def test_a_snippet_has_a_span_with_one_for_each_stage_inside(tiny_repository):
    with collector() as (url, spans):
        async with traced(tiny_repository, url, 1.0) as daemon:
            await daemon.stub.Score(request("one"))

    (root,) = [span for span in spans if span.name == "score"]
    stages = children(spans, root)
    assert [stage.name for stage in stages] == ["receive", "queue", "copy", "compute", "reply"]
    assert stages[0].start_time_unix_nano == root.start_time_unix_nano
    assert stages[-1].end_time_unix_nano == root.end_time_unix_nano
    for one, next_one in pairwise(stages):
        assert one.end_time_unix_nano == next_one.start_time_unix_nano
    facts = {fact.key: fact.value for fact in root.attributes}
    assert facts["tsnd.model"].string_value == "tiny_rgb"
    assert facts["tsnd.snippets"].int_value == 1


async def test_a_clients_trace_goes_on_in_the_daemon_by_every_door(tiny_repository):
    metadata = (("traceparent", f"00-{TRACE}-{SPAN}-01"),)
    with collector() as (url, spans):
        async with traced(tiny_repository, url, 0.0) as daemon:
            await daemon.stub.Score(request("one"), metadata=metadata)
            stream = daemon.stub.ScoreStream(iter([request("two")]), metadata=metadata)
            assert [message async for message in stream]
            kserve = stub_of(daemon)
            await kserve.ModelInfer(infer_request("3", rows=2), metadata=metadata)
            streamed = kserve.ModelStreamInfer(iter([infer_request("4")]), metadata=metadata)
            assert [message async for message in streamed]

    roots = [span for span in spans if span.name == "score"]
    assert len(roots) == 4
    assert {(root.trace_id.hex(), root.parent_span_id.hex()) for root in roots} == {(TRACE, SPAN)}


@pytest.mark.parametrize("parent", [f"00-{TRACE}-{SPAN}-00", "nonsense"])
async def test_what_is_not_sampled_is_not_sent(tiny_repository, parent):
    with collector() as (url, spans):
        async with traced(tiny_repository, url, 0.0) as daemon:
            await daemon.stub.Score(request("one"), metadata=(("traceparent", parent),))

    assert spans == []


async def test_a_collector_that_is_not_there_holds_nobody_up(tiny_repository):
    async with traced(tiny_repository, "http://127.0.0.1:1", 1.0) as daemon:
        assert (await daemon.stub.Score(request("one"))).snippet_id == "one"
