"""One interceptor that turns errors into gRPC statuses and counts finished calls."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from tsnd_daemon.errors import RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.security.callers import set_caller
from tsnd_daemon.security.door import Door, Metadata
from tsnd_daemon.services.messages import error_details, error_message
from tsnd_daemon.services.request_ids import request_id_of

SNIPPET_SERVICE = "tsnd.v1.SnippetService"
CONTROL_SERVICE = "tsnd.v1.ModelControlService"
KSERVE_SERVICE = "inference.GRPCInferenceService"
OUR_SERVICES = (SNIPPET_SERVICE, CONTROL_SERVICE, KSERVE_SERVICE)
OPEN_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        f"/{KSERVE_SERVICE}/ServerLive",
        f"/{KSERVE_SERVICE}/ServerReady",
    }
)
"""What is answered without a token, for the probes of whoever runs the daemon."""
_STATUS_DETAILS = "grpc-status-details-bin"

logger = logging.getLogger(__name__)

# gRPC's handlers are untyped: any request or request iterator in, any response out.
Behavior = Callable[[Any, "aio.ServicerContext[Any, Any]"], Awaitable[Any]]


class ErrorsToStatus(aio.ServerInterceptor):
    """Guards every method of every service; counts the calls of our own.

    Callers that the door does not let in get no further, whatever the method.

    A RequestError becomes its status and message, and so does a message that cannot be read.
    Anything else is our own fault: it is logged once with its traceback, and the client
    learns nothing internal.
    """

    def __init__(self, metrics: Metrics, door: Door) -> None:
        self._requests = metrics.requests
        self._door = door
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Wrap the handler of a call, once for each method that there is."""
        path = handler_call_details.method
        if guarded := self._guarded.get(path):
            return guarded
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        guarded = self._guarded[path] = self._guard(path, handler)
        return guarded

    def _guard(
        self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]"
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        service, _, method = path.lstrip("/").partition("/")
        count = self._count if service in OUR_SERVICES else _ignore
        sides = (handler.request_streaming, handler.response_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        enter = _let_in if path in OPEN_METHODS else self._enter
        behavior = _answering(getattr(handler, kind))
        wrap: Callable[..., grpc.RpcMethodHandler[Any, Any]]
        wrap = getattr(grpc, f"{kind}_rpc_method_handler")
        read, write = handler.request_deserializer, handler.response_serializer
        if read is None or handler.request_streaming:
            return wrap(_guarded(method, behavior, enter, count), read, write)
        # Read in the guarded function: gRPC would answer UNKNOWN, with the error's words.
        return wrap(_guarded(method, _reading(behavior, read), enter, count), None, write)

    def _enter(self, context: "aio.ServicerContext[Any, Any]") -> None:
        """Note who calls; raises Unauthenticated."""
        metadata = cast("Metadata | None", context.invocation_metadata())
        set_caller(self._door.identify(metadata))

    def _count(self, method: str, code: grpc.StatusCode) -> None:
        self._requests.labels(method, code.name).inc()


Enter = Callable[["aio.ServicerContext[Any, Any]"], None]
Count = Callable[[str, grpc.StatusCode], None]


def _guarded(method: str, behavior: Behavior, enter: Enter, count: Count) -> Behavior:
    """Return a function that does the same, and ends in a status whatever happens."""

    async def guarded(request: Any, context: "aio.ServicerContext[Any, Any]") -> Any:  # noqa: ANN401
        code = grpc.StatusCode.OK
        try:
            enter(context)  # before a message is read
            return await behavior(request, context)
        except RequestError as err:
            code = err.code
            err.forget_frames()
            await context.abort(
                code,
                error_message(err),
                trailing_metadata=((_STATUS_DETAILS, error_details(err)),),
            )
        except DecodeError:
            code = grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, f"the message does not parse as a request of {method}.")
        except aio.AbortError:  # the service has chosen a status, as that for health does
            raise
        except NotImplementedError:
            code = grpc.StatusCode.UNIMPLEMENTED
            await context.abort(code, f"{method} is not offered here.")
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            request_id = request_id_of(context)
            logger.exception(
                "%s failed, request %s", method, request_id, extra={"request_id": request_id}
            )
            await context.abort(
                code, f"internal error; the daemon's log has the reason under request {request_id}"
            )
        finally:
            count(method, code)

    return guarded


def _reading(behavior: Behavior, read: Callable[[bytes], Any]) -> Behavior:
    """Return the same for requests that have not been read."""

    async def reading(data: bytes, context: "aio.ServicerContext[Any, Any]") -> Any:  # noqa: ANN401
        return await behavior(read(data), context)

    return reading


def _answering(behavior: Callable[..., Any]) -> Behavior:
    """Return the same as a function that writes its answers itself."""
    if not inspect.isasyncgenfunction(behavior):
        return behavior

    async def answering(request: Any, context: "aio.ServicerContext[Any, Any]") -> None:  # noqa: ANN401
        async for reply in behavior(request, context):
            await context.write(reply)

    return answering


def _let_in(_context: "aio.ServicerContext[Any, Any]") -> None:
    """Who asks for health needs no token."""


def _ignore(_method: str, _code: grpc.StatusCode) -> None:
    """Health checks and reflection are no work, and are not counted."""
