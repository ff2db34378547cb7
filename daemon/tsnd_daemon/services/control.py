"""The control service: loads and unloads models while the daemon runs."""

import logging
from typing import Any, Protocol

from grpc import aio

from tsnd.v1 import control_pb2, control_pb2_grpc
from tsnd_daemon.errors import ControlRefused, StartError

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
        try:
            versions = await self._allowed().load(request.name)
        except StartError as err:
            logger.error("LoadModel %.128r: %s What was served of it goes on.", request.name, err)
            raise ControlRefused(f"What was served of it goes on: {err}") from err
        return control_pb2.LoadModelResponse(versions=versions)

    async def UnloadModel(
        self, request: control_pb2.UnloadModelRequest, _context: Context
    ) -> control_pb2.UnloadModelResponse:
        """Stop serving one model."""
        await self._allowed().unload(request.name)
        return control_pb2.UnloadModelResponse()

    def _allowed(self) -> Control:
        if self._control is None:
            raise ControlRefused(
                "models are not changed by calls here: start tsnd with --model-control explicit."
            )
        return self._control
