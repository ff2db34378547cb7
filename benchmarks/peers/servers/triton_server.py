"""Serves one ONNX file with NVIDIA Triton, as PyTriton starts it, with its dynamic batcher."""

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.servers.engine import INPUT, OUTPUTS, Engine, settings

SETTINGS = settings()
HTTP_PORT, METRICS_PORT = SETTINGS.port + 1, SETTINGS.port + 2


class Inference:
    """One instance with a session of its own."""

    def __init__(self) -> None:
        self.engine = Engine(SETTINGS)

    @batch
    def __call__(self, **inputs: "np.ndarray") -> "list[np.ndarray]":
        return self.engine.run(inputs[INPUT])


if __name__ == "__main__":
    instances = [Inference() for _ in range(SETTINGS.workers)]
    lengths = instances[0].engine.lengths()
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=SETTINGS.port,
        http_address="127.0.0.1",
        http_port=HTTP_PORT,
        metrics_port=METRICS_PORT,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="bench",
            infer_func=instances,
            inputs=[Tensor(name=INPUT, dtype=np.uint8, shape=SETTINGS.shape)],
            outputs=[
                Tensor(name=name, dtype=np.float32, shape=(lengths[name],)) for name in OUTPUTS
            ],
            config=ModelConfig(
                max_batch_size=SETTINGS.max_batch_size,
                batcher=DynamicBatcher(
                    max_queue_delay_microseconds=round(1e3 * SETTINGS.max_delay_ms)
                ),
            ),
        )
        triton.serve()
