"""The snippet service: accepts snippets, awaits their scores, replies in order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import Any

import grpc
from grpc import aio

from tsnd.v1 import model_pb2, snippets_pb2, snippets_pb2_grpc
from tsnd_daemon.errors import Draining, InvalidSnippet, RegionRefused
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.scheduling.fair_queue import PRIORITIES
from tsnd_daemon.scheduling.waiting_room import NORMAL
from tsnd_daemon.services.errors_to_status import SNIPPET_SERVICE
from tsnd_daemon.services.score_stream import Accept, Accepted, Context, ScoreStream
from tsnd_daemon.serving.catalogue import Catalogue
from tsnd_daemon.shared_memory import PixelSource, RegionOpener
from tsnd_daemon.validation import Sources
from tsnd_daemon.wire.requests import Buffer, Request, parse_request, readable
from tsnd_daemon.wire.responses import EVERYTHING, to_reply_form


class SnippetService(snippets_pb2_grpc.SnippetServiceServicer):
    """The servicer of SnippetService."""

    def __init__(
        self,
        catalogue: Catalogue,
        metrics: Metrics,
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
            decoders: Decode JPEG.
            regions: Opens shared memory for streams.
            max_in_flight_per_stream: Unanswered snippets with which a stream is not read.
            max_group_size: Most snippets in one message.
        """
        self._catalogue = catalogue
        self._metrics = metrics
        self._decoders = decoders
        self._regions = regions
        self._max_in_flight = max_in_flight_per_stream
        self._max_group_size = max_group_size
        self._streams: set[ScoreStream] = set()
        self._draining = False
        self._open_calls = 0
        self._all_answered = asyncio.Event()

    async def drain(self) -> bool:
        """Accept nothing more, and wait until all that was accepted is answered.

        Open streams stop reading, answer what they hold, and end with UNAVAILABLE; so does
        every new call.

        Returns:
            Whether anyone had to be answered.
        """
        self._draining = True
        for stream in self._streams:
            stream.stop_reading()
        if not self._open_calls:
            return False
        self._all_answered.clear()
        await self._all_answered.wait()
        return True

    @contextlib.contextmanager
    def _open_call(self) -> Iterator[None]:
        """Count a call that `drain` must wait for."""
        self._open_calls += 1
        try:
            yield
        finally:
            self._open_calls -= 1
            if not self._open_calls:
                self._all_answered.set()

    async def Score(  # type: ignore[override] # see add_to_server
        self, request: Request, context: Context
    ) -> bytes:
        """Score one snippet; returns a ScoreResponse."""
        with self._metrics.count_rejected(), self._open_call():
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
            accept = self._admit(message, sources, context.peer(), _deadline_ns(context))
            accepted = accept(message.snippets[0], request.pixels[0])
            try:
                scores = await accepted.waiting.scores
            except asyncio.CancelledError:
                accepted.withdraw()
                raise
            return accepted.writer.response(accepted.snippet_id, scores)

    # Reads and writes by itself instead of being a generator, which gRPC allows too.
    async def ScoreStream(  # type: ignore[override]
        self, _requests: AsyncIterator[snippets_pb2.ScoreRequest], context: Context
    ) -> None:
        """Score the snippets of a stream; see score_stream.py."""
        if self._draining:
            raise Draining("the daemon is stopping; send the stream to another, or try later.")
        deadline_ns = _deadline_ns(context)
        sources = Sources(self._decoders)

        def attach(memory: snippets_pb2.SharedMemory) -> None:
            if sources.region is not None:
                raise RegionRefused("this stream has attached shared memory before.")
            sources.region = self._open(memory)

        stream = ScoreStream(
            context,
            lambda message: self._admit(message, sources, stream, deadline_ns),
            attach,
            self._metrics,
            max_in_flight=self._max_in_flight,
            max_group_size=self._max_group_size,
        )
        with self._metrics.streams.track_inprogress(), self._open_call():
            self._streams.add(stream)
            try:
                await stream.run()
            finally:
                self._streams.discard(stream)
                sources.region = None  # now, and not when the collector finds the cycle
        if self._draining:
            raise Draining(
                "the daemon is stopping. All snippets that it had accepted are answered; send "
                "the rest to another, or reconnect."
            )

    async def ListModels(
        self, _request: snippets_pb2.ListModelsRequest, _context: Context
    ) -> snippets_pb2.ListModelsResponse:
        """List the models."""
        return snippets_pb2.ListModelsResponse(
            models=[
                snippets_pb2.ModelSummary(
                    name=model.manifest.name,
                    version=model.manifest.version,
                    modality=model.manifest.modality,
                    classes=len(model.manifest.labels),
                )
                for model in self._catalogue.served()
            ],
            pairs=self._catalogue.pairs(),
        )

    async def GetModel(
        self, request: snippets_pb2.GetModelRequest, _context: Context
    ) -> snippets_pb2.GetModelResponse:
        """Describe one model."""
        served = self._catalogue.find(request.name, request.version, request.modality)
        return snippets_pb2.GetModelResponse(
            manifest=served.manifest,
            max_batch_size=served.max_batch_size,
            max_group_size=self._max_group_size,
            backend=served.model.backend,
            precision=served.model.artifact.precision or model_pb2.PRECISION_FP32,
            shared_memory=self._regions.is_on,
        )

    def _open(self, memory: snippets_pb2.SharedMemory) -> PixelSource:
        """Open what a client shares; raises RegionRefused."""
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
        sources: Sources,
        stream: object,
        call_deadline_ns: int | None,
    ) -> Accept:
        """Say how the snippets of a message are queued; raises RequestError, as that does."""
        if self._draining:
            raise Draining("the daemon is stopping; send the snippet to another, or try later.")
        name, version = message.model, message.version
        priority = message.priority if message.HasField("priority") else NORMAL
        if priority >= PRIORITIES:
            raise InvalidSnippet(
                f"priority {priority}: expected 0 (real time), 1 (normal) or 2 (bulk)."
            )
        deadline_ns = _earlier(call_deadline_ns, message.timeout_us)
        form = to_reply_form(message.reply) if message.HasField("reply") else EVERYTHING

        def accept(snippet: snippets_pb2.Snippet, pixels: Buffer | None) -> Accepted:
            model = self._catalogue.find(name, version, snippet.modality)
            writer = model.writers.for_form(form)
            valid = model.contract.validate(snippet, pixels, sources)
            waiting = model.batcher.submit(
                valid, stream=stream, priority=priority, deadline_ns=deadline_ns
            )
            return Accepted(valid.id, model, waiting, writer)

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


def _deadline_ns(context: Context) -> int | None:
    """Return the client's deadline on the monotonic clock."""
    left_s = context.time_remaining()
    return None if left_s is None else time.monotonic_ns() + int(left_s * 1e9)


def _earlier(call_deadline_ns: int | None, timeout_us: int) -> int | None:
    """Return the earlier of a call's deadline and a timeout from now, if there is any."""
    if not timeout_us:
        return call_deadline_ns
    deadline_ns = time.monotonic_ns() + timeout_us * 1_000
    return deadline_ns if call_deadline_ns is None else min(call_deadline_ns, deadline_ns)
