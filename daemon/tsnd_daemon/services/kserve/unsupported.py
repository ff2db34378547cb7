"""Calls that Triton's clients know and that are not answered here; each says what to do."""

from collections.abc import Mapping
from typing import Any

import grpc
from grpc import aio

from tsnd_daemon.errors import NotSupported

_CUDA = "CUDA shared memory is not supported. Use system shared memory, or send the tensors."
_TRACE = "traces are not supported. The response of tsnd.v1.SnippetService/Score has timings."
_LOG = "log settings are not changed by calls. Start tsnd with --log-level."

REASONS: Mapping[str, str] = {
    "CudaSharedMemoryStatus": _CUDA,
    "CudaSharedMemoryRegister": _CUDA,
    "CudaSharedMemoryUnregister": _CUDA,
    "TraceSetting": _TRACE,
    "LogSettings": _LOG,
}
"""Why, by name of the call."""


def handlers() -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Return what refuses each of the calls; their messages are not read."""
    return {
        name: grpc.unary_unary_rpc_method_handler(_refusal(reason))
        for name, reason in REASONS.items()
    }


def _refusal(reason: str) -> Any:  # noqa: ANN401 - gRPC's types know no async handlers
    async def refuse(_request: bytes, _context: "aio.ServicerContext[Any, Any]") -> bytes:
        raise NotSupported(reason)

    return refuse
