"""One interceptor that turns errors into gRPC statuses and counts finished calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from tsnd_daemon.errors import RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.services.messages import error_details, error_message

SNIPPET_SERVICE = "tsnd.v1.SnippetService"
CONTROL_SERVICE = "tsnd.v1.ModelControlService"
KSERVE_SERVICE = "inference.GRPCInferenceService"
OUR_SERVICES = (SNIPPET_SERVICE, CONTROL_SERVICE, KSERVE_SERVICE)
_STATUS_DETAILS = "grpc-status-details-bin"

logger = logging.getLogger(__name__)

# gRPC's handlers are untyped: any request or request iterator in, any response out.
Behavior = Callable[[Any, "aio.ServicerContext[Any, Any]"], Awaitable[Any]]


class ErrorsToStatus(aio.ServerInterceptor):
    """Guards every method of our services.

    A RequestError becomes its status and message. Anything else is our own fault: it is
    logged once with its traceback, and the client learns nothing internal.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.requests

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Wrap the handler of a call, if it is one of ours."""
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        if handler is None or service not in OUR_SERVICES:
            return handler
        coders = (handler.request_deserializer, handler.response_serializer)
        behavior: Any
        if handler.request_streaming:
            behavior = handler.stream_stream
            return grpc.stream_stream_rpc_method_handler(self._guard(method, behavior), *coders)
        behavior = handler.unary_unary
        return grpc.unary_unary_rpc_method_handler(self._guard(method, behavior), *coders)

    def _guard(self, method: str, behavior: Behavior) -> Behavior:
        async def guarded(request: Any, context: "aio.ServicerContext[Any, Any]") -> Any:  # noqa: ANN401
            code = grpc.StatusCode.OK
            try:
                return await behavior(request, context)
            except RequestError as err:
                code = err.code
                err.forget_frames()
                await context.abort(
                    code,
                    error_message(err),
                    trailing_metadata=((_STATUS_DETAILS, error_details(err)),),
                )
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                logger.exception("%s failed", method)
                await context.abort(code, "internal error; the daemon's log has the reason")
            finally:
                self._requests.labels(method, code.name).inc()

        return guarded
