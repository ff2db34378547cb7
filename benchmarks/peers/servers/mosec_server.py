"""Serves one ONNX file with mosec: a stage of workers with dynamic batching, bytes as they come."""

import os

from benchmarks.peers.servers.engine import Engine, settings

SETTINGS = settings()
# mosec reads its options when it is imported.
os.environ |= {
    "MOSEC_ADDRESS": "127.0.0.1",
    "MOSEC_PORT": str(SETTINGS.port),
    "MOSEC_TIMEOUT": "60000",
    "MOSEC_LOG_LEVEL": "warning",
}

from mosec import Server, Worker  # noqa: E402


class Inference(Worker):
    """One process with a session of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = Engine(SETTINGS)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return self._engine.score(data)

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Inference,
        num=SETTINGS.workers,
        max_batch_size=SETTINGS.max_batch_size,
        max_wait_time=round(SETTINGS.max_delay_ms),
    )
    server.run()
