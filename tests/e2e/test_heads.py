"""A linear head of one's own travels all the way: from an .npz file to the client."""

from typing import Any

import numpy as np

from tests.builders import write_tiny_caffe_model
from tests.daemons import running_daemon
from tsnd_builder import commands
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality
from tsnd_client import AsyncClient

FLOAT32_TOLERANCE = 1e-5


async def test_a_clients_scores_have_the_outputs_of_the_heads_too(tmp_path):
    prototxt, weights, labels = write_tiny_caffe_model(tmp_path)
    files = commands.CaffeFiles(prototxt, weights, BNStorage.VARIANCE)
    common: dict[str, Any] = {"labels": labels, "modality": Modality.RGB, "crops": 1}
    common["frame_size"] = None
    frame = np.random.default_rng(0).integers(0, 256, (16, 21, 3), dtype=np.uint8)
    repository = tmp_path / "models"
    commands.build(files, name="plain", repository=repository, **common)
    async with running_daemon(repository) as daemon, AsyncClient(daemon.endpoints.grpc) as client:
        plain = await client.score(await client.model("plain"), frame)
    weight = np.random.default_rng(1).normal(size=(3, len(plain.features)))
    np.savez(tmp_path / "ssn.npz", weight=weight, bias=np.ones(3))

    head = {"ssn": tmp_path / "ssn.npz"}
    commands.build(files, name="with_head", repository=repository, heads=head, **common)
    async with running_daemon(repository) as daemon, AsyncClient(daemon.endpoints.grpc) as client:
        scored = await client.score(await client.model("with_head"), frame)

    np.testing.assert_allclose(scored.scores, plain.scores, atol=FLOAT32_TOLERANCE)
    expected = weight @ plain.features + 1
    np.testing.assert_allclose(scored.outputs["ssn"], expected, atol=FLOAT32_TOLERANCE)
