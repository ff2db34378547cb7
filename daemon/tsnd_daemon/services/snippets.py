"""The snippet service: accepts snippets, awaits their scores, replies in order."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from importlib.metadata import version
from typing import Any

import grpc
from grpc import aio

from tsnd.v1 import model_pb2, snippets_pb2, snippets_pb2_grpc
from tsnd_daemon.errors import InvalidSnippet, RegionRefused
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.scheduling.fair_queue import PRIORITIES
from tsnd_daemon.scheduling.waiting_room import NORMAL
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.security.tokens import Right
from tsnd_daemon.services.answers import Answers
from tsnd_daemon.services.deadlines import deadline_of, earlier
from tsnd_daemon.services.errors_to_status import SNIPPET_SERVICE
from tsnd_daemon.services.open_calls import OpenCalls
from tsnd_daemon.services.score_stream import Accept, Accepted, Context, ScoreStream
from tsnd_daemon.serving.catalogue import Catalogue
from tsnd_daemon.shared_memory import PixelSource, RegionOpener
from tsnd_daemon.validation import Sources
from tsnd_daemon.wire.requests import Buffer, Request, parse_request, readable
from tsnd_daemon.wire.responses import EVERYTHING, to_reply_form

_VERSION = version("tsnd")


class SnippetService(snippets_pb2_grpc.SnippetServiceServicer):
    """The servicer of SnippetService."""

    def __init__(
        self,
        catalogue: Catalogue,
        metrics: Metrics,
        calls: OpenCalls,
        *,
        decoders: Executor,
        regions: RegionOpener,
        max_in_flight_per_stream: int,
        max_group_size: int,
    ) -> None:
        """Serve some models.

        Args:
            catalogue: Where they are found.
            metrics: Where it reports.
            calls: Where its calls are counted, together with those of other services.
            decoders: Decode JPEG.
            regions: Opens shared memory for streams.
            max_in_flight_per_stream: Unanswered snippets with which a stream is not read.
            max_group_size: Most snippets in one message.
        """
        self._catalogue = catalogue
        self._metrics = metrics
        self._calls = calls
        self._decoders = decoders
        self._regions = regions
        self._max_in_flight = max_in_flight_per_stream
        self._max_group_size = max_group_size

    async def Score(  # type: ignore[override] # see add_to_server
        self, request: Request, context: Context
    ) -> bytes:
        """Score one snippet; returns a ScoreResponse."""
        with self._metrics.count_rejected(), self._calls.track():
            message = readable(request)
            if message.HasField("attach"):
                raise InvalidSnippet("attach is for streams: send it by ScoreStream.")
            if len(message.snippets) != 1:
                raise InvalidSnippet(
                    f"Score takes one snippet, got {len(message.snippets)}. Send several on a "
                    "stream: ScoreStream."
                )
            # Calls of one client share, as the snippets of a stream do.
            sources = Sources(self._decoders)
            accept = self._admit(
                message, request.received_ns, sources, context.peer(), deadline_of(context)
            )
            accepted = accept(message.snippets[0], request.pixels[0])
            try:
                scores = await accepted.waiting.scores
            except asyncio.CancelledError:
                accepted.withdraw()
                raise
            response = accepted.writer.response(accepted.snippet_id, scores)
            answers = Answers(context)
            accepted.join(answers, scores.execution)
            answers.note_written()  # by gRPC, as soon as this returns
            return response

    # Reads and writes by itself instead of being a generator, which gRPC allows too.
    async def ScoreStream(  # type: ignore[override]
        self, _requests: AsyncIterator[snippets_pb2.ScoreRequest], context: Context
    ) -> None:
        """Score the snippets of a stream; see score_stream.py."""
        self._calls.refuse_new("stream")
        deadline_ns = deadline_of(context)
        sources = Sources(self._decoders)

        def attach(memory: snippets_pb2.SharedMemory) -> None:
            if sources.region is not None:
                raise RegionRefused("this stream has attached shared memory before.")
            sources.region = self._open(memory)

        stream = ScoreStream(
            context,
            lambda message, received_ns: self._admit(
                message, received_ns, sources, stream, deadline_ns
            ),
            attach,
            self._metrics,
            max_in_flight=self._max_in_flight,
            max_group_size=self._max_group_size,
        )
        with (
            current_caller().stream(),
            self._calls.track(stream),
            self._metrics.streams.track_inprogress(),
        ):
            try:
                await stream.run()
            finally:
                sources.region = None  # now, and not when the collector finds the cycle
        self._calls.end_stream()

    async def ListModels(
        self, _request: snippets_pb2.ListModelsRequest, _context: Context
    ) -> snippets_pb2.ListModelsResponse:
        """List the models that the caller may use."""
        may_use = current_caller().may_use
        return snippets_pb2.ListModelsResponse(
            models=[
                snippets_pb2.ModelSummary(
                    name=model.manifest.name,
                    version=model.manifest.version,
                    modality=model.manifest.modality,
                    classes=len(model.manifest.labels),
                )
                for model in self._catalogue.served()
                if may_use(model.manifest.name)
            ],
            pairs=[pair for pair in self._catalogue.pairs() if may_use(pair.name)],
            daemon_version=_VERSION,
        )

    async def GetModel(
        self, request: snippets_pb2.GetModelRequest, _context: Context
    ) -> snippets_pb2.GetModelResponse:
        """Describe one model."""
        caller = current_caller()
        caller.require_model(request.name)
        served = self._catalogue.find(request.name, request.version, request.modality)
        return snippets_pb2.GetModelResponse(
            manifest=served.manifest,
            max_batch_size=served.max_batch_size,
            max_group_size=self._max_group_size,
            backend=served.model.backend,
            precision=served.model.artifact.precision or model_pb2.PRECISION_FP32,
            shared_memory=self._regions.is_on and caller.has(Right.SHARED_MEMORY),
        )

    def _open(self, memory: snippets_pb2.SharedMemory) -> PixelSource:
        """Open what a client shares; raises RegionRefused, or Forbidden."""
        current_caller().require(Right.SHARED_MEMORY)
        if not memory.process_id:
            return self._regions.open(memory.key, byte_size=memory.byte_size)
        return self._regions.open_sealed(
            memory.key,
            byte_size=memory.byte_size,
            process_id=memory.process_id,
            descriptor=memory.descriptor,
        )

    def _admit(
        self,
        message: snippets_pb2.ScoreRequest,
        received_ns: int,
        sources: Sources,
        stream: object,
        call_deadline_ns: int | None,
    ) -> Accept:
        """Say how the snippets of a message are queued; raises RequestError, as that does."""
        self._calls.refuse_new("snippet")
        name, version = message.model, message.version
        caller = current_caller()
        caller.require_model(name)
        limit = caller.in_flight()
        priority = message.priority if message.HasField("priority") else NORMAL
        if priority >= PRIORITIES:
            raise InvalidSnippet(
                f"priority {priority}: expected 0 (real time), 1 (normal) or 2 (bulk)."
            )
        deadline_ns = earlier(call_deadline_ns, message.timeout_us)
        arrived_ns = time.monotonic_ns()  # of all alike, so that their timings are, too
        form = to_reply_form(message.reply) if message.HasField("reply") else EVERYTHING

        def accept(snippet: snippets_pb2.Snippet, pixels: Buffer | None) -> Accepted:
            if limit is not None:
                limit.check_room()
            model = self._catalogue.find(name, version, snippet.modality)
            writer = model.writers.for_form(form)
            valid = model.contract.validate(snippet, pixels, sources)
            waiting = model.batcher.submit(
                valid,
                stream=stream,
                priority=priority,
                deadline_ns=deadline_ns,
                arrived_ns=arrived_ns,
            )
            if limit is not None:
                limit.hold(waiting.scores)
            return Accepted(valid.id, model, waiting, writer, received_ns)

        return accept


def add_to_server(service: SnippetService, server: aio.Server) -> None:
    """Let a server call a service, with requests as `parse_request` reads them.

    What it answers are bytes already.
    """
    pb, unary = snippets_pb2, grpc.unary_unary_rpc_method_handler
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Score": unary(service.Score, parse_request),
        "ScoreStream": grpc.stream_stream_rpc_method_handler(service.ScoreStream, parse_request),
        "ListModels": unary(
            service.ListModels,
            pb.ListModelsRequest.FromString,
            pb.ListModelsResponse.SerializeToString,
        ),
        "GetModel": unary(
            service.GetModel, pb.GetModelRequest.FromString, pb.GetModelResponse.SerializeToString
        ),
    }
    handler = grpc.method_handlers_generic_handler(SNIPPET_SERVICE, methods)
    server.add_generic_rpc_handlers((handler,))
