"""Serves one ONNX file with Ray Serve: replicas that batch by its own decorator."""

import logging
import signal

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.servers.engine import Engine, settings

SETTINGS = settings()


@serve.deployment(
    num_replicas=SETTINGS.workers,
    max_ongoing_requests=8 * SETTINGS.max_batch_size,
    ray_actor_options={"num_cpus": 0},
    logging_config={"log_level": "WARNING", "enable_access_log": False},
)
class Inference:
    """One replica with a session of its own."""

    def __init__(self) -> None:
        self._engine = Engine(SETTINGS)

    @serve.batch(
        max_batch_size=SETTINGS.max_batch_size,
        batch_wait_timeout_s=SETTINGS.max_delay_ms / 1e3,
    )
    async def score(self, frames: list[bytes]) -> list[bytes]:
        return self._engine.score(frames)

    async def __call__(self, request: Request) -> Response:
        scores = await self.score(await request.body())
        return Response(scores, media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(
        include_dashboard=False, logging_level=logging.WARNING, object_store_memory=200 * 2**20
    )
    serve.start(http_options={"host": "127.0.0.1", "port": SETTINGS.port})
    serve.run(Inference.bind())  # type: ignore[attr-defined] # the decorator's
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
