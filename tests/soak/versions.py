"""Versions of a model that appear in a repository one after another, the last in place of it."""

import json
import shutil
from pathlib import Path

from grpc import aio

from tsnd.v1 import control_pb2, control_pb2_grpc


class Versions:
    """The versions of one model."""

    def __init__(self, repository: Path, name: str) -> None:
        self._model = repository / name
        self._name = name
        self._version = 1

    def publish_next(self) -> int:
        """Let the next version appear, whole and at once, and the one before the last go."""
        current, staging = self._model / str(self._version), self._model.parent / ".staging"
        shutil.copytree(current, staging)
        manifest = staging / "manifest.json"
        facts = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**facts, "version": self._version + 1}))
        staging.rename(self._model / str(self._version + 1))
        if self._version > 1:
            shutil.rmtree(self._model / str(self._version - 1))
        self._version += 1
        return self._version

    async def load(self, channel: aio.Channel) -> list[int]:
        """Let a daemon take it up; returns what it serves then."""
        control = control_pb2_grpc.ModelControlServiceStub(channel)
        reply = await control.LoadModel(control_pb2.LoadModelRequest(name=self._name))
        return list(reply.versions)
