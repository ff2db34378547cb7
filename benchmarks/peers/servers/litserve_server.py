"""Serves one ONNX file with LitServe: batched requests, raw bytes instead of JSON."""

from typing import Annotated

import litserve
from fastapi import Body, Response

from benchmarks.peers.servers.engine import Engine, settings

SETTINGS = settings()


class Inference(litserve.LitAPI):
    """What each worker process does."""

    def setup(self, device: str) -> None:
        self._engine = Engine(SETTINGS)

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, frames: list[bytes]) -> list[bytes]:
        return self._engine.score(frames)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    api = Inference(
        max_batch_size=SETTINGS.max_batch_size, batch_timeout=SETTINGS.max_delay_ms / 1e3
    )
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=SETTINGS.workers, timeout=60, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=SETTINGS.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
