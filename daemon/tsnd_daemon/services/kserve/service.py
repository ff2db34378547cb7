"""The servicer of inference.GRPCInferenceService: which file answers which call."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tsnd.kserve import inference_pb2 as pb
from tsnd.kserve import inference_pb2_grpc
from tsnd_daemon.errors import ModelNotFound, RegionRefused
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.services.answers import Answers
from tsnd_daemon.services.deadlines import deadline_of
from tsnd_daemon.services.errors_to_status import KSERVE_SERVICE
from tsnd_daemon.services.kserve import metadata, unsupported
from tsnd_daemon.services.kserve.infer import Accepted, Inference
from tsnd_daemon.services.kserve.models import find, find_all
from tsnd_daemon.services.kserve.regions import Regions
from tsnd_daemon.services.kserve.repository import RepositoryCalls
from tsnd_daemon.services.kserve.stream import Context, InferStream
from tsnd_daemon.versions import VersionPolicy
from tsnd_daemon.wire.infer_requests import InferRequest, parse_infer_request

_AnyContext = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class KServeOptions:
    """What the daemon's settings say to this service.

    Attributes:
        max_in_flight_per_stream: Unanswered snippets with which a stream is not read.
        version_policy: Which versions of a model are served.
    """

    max_in_flight_per_stream: int
    version_policy: Callable[[str], VersionPolicy]


class KServeService(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The servicer."""

    def __init__(
        self,
        inference: Inference,
        repository: RepositoryCalls,
        metrics: Metrics,
        options: KServeOptions,
    ) -> None:
        """Serve some models.

        Args:
            inference: Accepts requests for them.
            repository: Lists and changes them.
            metrics: Where it reports.
            options: Bounds.
        """
        self._inference = inference
        self._catalogue, self._calls = inference.catalogue, inference.calls
        self._regions: Regions = inference.inputs.regions
        self._max_rows = inference.inputs.max_rows
        self._repository = repository
        self._metrics = metrics
        self._options = options

    async def ServerLive(
        self, _request: pb.ServerLiveRequest, _context: _AnyContext
    ) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, _request: pb.ServerReadyRequest, _context: _AnyContext
    ) -> pb.ServerReadyResponse:
        """Say whether new requests are accepted."""
        return pb.ServerReadyResponse(ready=not self._calls.are_draining)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, _context: _AnyContext
    ) -> pb.ModelReadyResponse:
        """Say whether requests for a model are accepted."""
        try:
            find(self._catalogue, request.name, request.version)
        except ModelNotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=not self._calls.are_draining)

    async def ServerMetadata(
        self, _request: pb.ServerMetadataRequest, _context: _AnyContext
    ) -> pb.ServerMetadataResponse:
        """Say what the server is."""
        return pb.ServerMetadataResponse(
            name="tsnd", version=version("tsnd"), extensions=metadata.EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, _context: _AnyContext
    ) -> pb.ModelMetadataResponse:
        """Say what a model takes and gives."""
        served = find(self._catalogue, request.name, request.version)
        return metadata.model_metadata(served, self._catalogue.versions(request.name))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, _context: _AnyContext
    ) -> pb.ModelConfigResponse:
        """Say how a model is batched."""
        served = find(self._catalogue, request.name, request.version)
        versions = self._options.version_policy(served.manifest.name)
        return pb.ModelConfigResponse(
            config=metadata.model_config(served, versions, self._max_rows)
        )

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, _context: _AnyContext
    ) -> pb.ModelStatisticsResponse:
        """Say what was counted of models."""
        models = find_all(self._catalogue, request.name, request.version)
        return pb.ModelStatisticsResponse(
            model_stats=[metadata.model_statistics(model) for model in models]
        )

    async def ModelInfer(  # type: ignore[override] # see add_to_server
        self, request: InferRequest, context: _AnyContext
    ) -> pb.ModelInferResponse:
        """Score one request."""
        with self._metrics.count_rejected(), self._calls.track():
            # Calls of one client share, as the requests of a stream do.
            accepted = self._inference.accept(
                request, stream=context.peer(), deadline_ns=deadline_of(context)
            )
            response = await accepted.response()
            accepted.note_written(Answers(context))  # by gRPC, as soon as this returns
            return response

    # Reads and writes by itself instead of being a generator, which gRPC allows too.
    async def ModelStreamInfer(  # type: ignore[override]
        self, _requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> None:
        """Score the requests of a stream; see stream.py."""
        self._calls.refuse_new("stream")
        deadline_ns = deadline_of(context)

        def accept(request: InferRequest) -> Accepted:
            return self._inference.accept(request, stream=stream, deadline_ns=deadline_ns)

        stream = InferStream(
            context,
            accept,
            self._metrics,
            max_in_flight=self._options.max_in_flight_per_stream,
        )
        with (
            current_caller().stream(),
            self._calls.track(stream),
            self._metrics.streams.track_inprogress(),
        ):
            await stream.run()
        self._calls.end_stream()

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, _context: _AnyContext
    ) -> pb.RepositoryIndexResponse:
        """List the models of the repository."""
        return await self._repository.index(request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, _context: _AnyContext
    ) -> pb.RepositoryModelLoadResponse:
        """Load, reload or update one model."""
        return await self._repository.load(request)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, _context: _AnyContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving one model."""
        return await self._repository.unload(request)

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, _context: _AnyContext
    ) -> pb.SystemSharedMemoryStatusResponse:
        """List the shared memory that is registered."""
        status = pb.SystemSharedMemoryStatusResponse.RegionStatus
        regions = {
            name: status(name=name, key=r.key, offset=r.offset, byte_size=r.byte_size)
            for name, r in self._regions
            if request.name in ("", name)
        }
        if request.name and not regions:
            raise RegionRefused(f"there is no shared memory {request.name[:64]!r} here.")
        return pb.SystemSharedMemoryStatusResponse(regions=regions)

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, _context: _AnyContext
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Register shared memory."""
        self._calls.refuse_new("request")
        self._regions.register(
            request.name, request.key, offset=request.offset, byte_size=request.byte_size
        )
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, _context: _AnyContext
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget shared memory; an empty name means all of it."""
        if request.name:
            self._regions.unregister(request.name)
        else:
            self._regions.clear()
        return pb.SystemSharedMemoryUnregisterResponse()


def add_to_server(service: KServeService, server: aio.Server) -> None:
    """Let a server call a service, with requests as `parse_infer_request` reads them."""
    described = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    handlers = unsupported.handlers()
    for method in described.methods:
        call: Any = getattr(service, method.name)
        make: Any = grpc.unary_unary_rpc_method_handler
        if method.client_streaming:
            make = grpc.stream_stream_rpc_method_handler
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        read = parse_infer_request if request is pb.ModelInferRequest else request.FromString
        handlers[method.name] = make(call, read, response.SerializeToString)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(KSERVE_SERVICE, handlers),)
    )
