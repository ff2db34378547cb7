"""The calls that look into the model repository, and those that change what is served of it."""

import logging
from typing import Protocol

from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import ControlRefused, InvalidRequest, StartError
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.services.control import Control, load, unload
from tsnd_daemon.serving.pool import IndexEntry

logger = logging.getLogger(__name__)


class Repository(Control, Protocol):
    """What changes models and lists them; ModelPool is one."""

    async def index(self) -> list[IndexEntry]:
        """List what the repository has and what is served, by name and version."""
        ...


class RepositoryCalls:
    """Answers those calls."""

    def __init__(self, repository: Repository, *, may_change: bool) -> None:
        """Answer for some repository.

        Args:
            repository: Lists and changes models.
            may_change: Whether calls may change them.
        """
        self._repository = repository
        self._control = repository if may_change else None

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List models; see RepositoryIndex."""
        _check_repository(request.repository_name)
        may_use = current_caller().may_use
        try:
            entries = await self._repository.index()
        except StartError as err:
            logger.error("RepositoryIndex: %s", err)
            raise ControlRefused(f"{err} What is served goes on.") from err
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=entry.name,
                    version=str(entry.version),
                    state="UNAVAILABLE" if entry.why_not else "READY",
                    reason=entry.why_not,
                )
                for entry in entries
                if may_use(entry.name) and not (request.ready and entry.why_not)
            ]
        )

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load, reload or update one model."""
        _check_repository(request.repository_name)
        if names := sorted(request.parameters):
            raise InvalidRequest(
                f"loading with {names[0][:64]!r}: packages are served as they are in the "
                "repository. Build another version of the model instead."
            )
        await load(self._control, request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving one model."""
        _check_repository(request.repository_name)
        await unload(self._control, request.model_name)
        return pb.RepositoryModelUnloadResponse()


def _check_repository(name: str) -> None:
    if name:
        raise InvalidRequest(
            f"repository {name[:64]!r}: there is one repository here. Leave its name out."
        )
