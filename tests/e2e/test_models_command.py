"""`tsn models --json` at a real daemon: what it says is what the daemon takes."""

import asyncio
import json

import numpy as np

from tests.daemons import running_daemon
from tsnd_client import Client
from tsnd_client.cli import main


async def test_what_a_script_reads_is_enough_to_score(tiny_repository, capsys):
    def list_and_score(target):
        assert main(["models", "--json", "--labels", "--target", target]) == 0
        record = json.loads(capsys.readouterr().out)
        with Client(record["target"]) as client:
            for model in record["models"]:
                pixels = np.zeros(model["snippet_shape"], np.uint8)
                info = client.model(model["name"], version=model["version"])
                yield model, client.score(info, pixels)

    async with running_daemon(tiny_repository, backend="onnxruntime") as daemon:
        found = await asyncio.to_thread(lambda: list(list_and_score(daemon.endpoints.grpc)))

    assert [model["name"] for model, _ in found] == ["tiny_flow", "tiny_rgb"]
    for model, result in found:
        shapes = {output["name"]: tuple(output["shape"]) for output in model["outputs"]}
        assert shapes == {"scores": result.scores.shape, "features": result.features.shape}
        assert len(model["labels"]) == model["classes"] == len(result.scores)
        assert (model["backend"], model["precision"]) == ("onnxruntime", "fp32")
