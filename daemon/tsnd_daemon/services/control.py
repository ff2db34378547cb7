"""The control service: loads and unloads models while the daemon runs."""

import logging
from typing import Any, Protocol

from grpc import aio

from tsnd.v1 import control_pb2, control_pb2_grpc
from tsnd_daemon.errors import ControlRefused, StartError
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.security.tokens import Right

Context = aio.ServicerContext[Any, Any]

logger = logging.getLogger(__name__)


class Control(Protocol):
    """What changes models; ModelPool is one."""

    async def load(self, name: str) -> list[int]:
        """Bring a model in line with its folder; returns the versions served then."""
        ...

    async def unload(self, name: str) -> None:
        """Stop serving a model."""
        ...


class ModelControlService(control_pb2_grpc.ModelControlServiceServicer):
    """The servicer of ModelControlService."""

    def __init__(self, control: Control | None) -> None:
        """Serve some control.

        Args:
            control: Changes models; None when that is not allowed.
        """
        self._control = control

    async def LoadModel(
        self, request: control_pb2.LoadModelRequest, _context: Context
    ) -> control_pb2.LoadModelResponse:
        """Load, reload or update one model."""
        versions = await load(self._control, request.name)
        return control_pb2.LoadModelResponse(versions=versions)

    async def UnloadModel(
        self, request: control_pb2.UnloadModelRequest, _context: Context
    ) -> control_pb2.UnloadModelResponse:
        """Stop serving one model."""
        await unload(self._control, request.name)
        return control_pb2.UnloadModelResponse()


async def load(control: Control | None, name: str) -> list[int]:
    """Bring a model in line with its folder, for whichever service was asked.

    Args:
        control: Changes models; None when that is not allowed.
        name: The model's, from a client.

    Returns:
        The versions that are served then.

    Raises:
        RequestError: When it is not allowed, there is no such model, or it cannot be served.
    """
    allowed = _allowed(control)
    logger.info("%s loads model %.128r", current_caller().name, name)
    try:
        return await allowed.load(name)
    except StartError as err:
        logger.error("loading model %.128r: %s What was served of it goes on.", name, err)
        raise ControlRefused(f"What was served of it goes on: {err}") from err


async def unload(control: Control | None, name: str) -> None:
    """Stop serving a model; as `load`."""
    allowed = _allowed(control)
    logger.info("%s unloads model %.128r", current_caller().name, name)
    await allowed.unload(name)


def _allowed(control: Control | None) -> Control:
    current_caller().require(Right.ADMIN)
    if control is None:
        raise ControlRefused(
            "models are not changed by calls here: start tsnd with --model-control explicit."
        )
    return control
