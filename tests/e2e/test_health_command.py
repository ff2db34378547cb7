"""`tsn health` at a real daemon, in every state that a script may find it in."""

import asyncio
import json
from importlib.metadata import version

import numpy as np

from tests.daemons import running_daemon
from tests.streams import has_pending
from tsnd_client import AsyncClient
from tsnd_client.cli import main
from tsnd_daemon.executors.synthetic import SyntheticExecutor

FRAME = np.zeros((16, 21, 3), np.uint8)


async def run(*arguments):
    return await asyncio.to_thread(main, ["health", *arguments])


async def test_a_daemon_that_serves_is_told_with_its_version_and_models(tiny_repository, capsys):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        target = daemon.endpoints.grpc
        assert await run("--target", target) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"tsnd {version('tsnd')} at {target}: serving",
        "tiny_flow  version 1  flow",
        "tiny_rgb   version 1  rgb",
    ]


async def test_a_script_reads_the_same_as_json(tiny_repository, capsys):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        assert await run("--json", "--target", daemon.endpoints.grpc) == 0

    record = json.loads(capsys.readouterr().out)
    assert (record["serving"], record["reason"]) == (True, "")
    assert record["version"] == version("tsnd")
    assert record["models"][1]["name"] == "tiny_rgb"


async def test_a_daemon_that_drains_is_not_serving(tiny_repository, capsys):
    # Alone, a snippet waits a second for company, so there is something to drain.
    async with running_daemon(tiny_repository, max_queue_delay_us=1_000_000) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            held = asyncio.create_task(client.score(await client.model("tiny_rgb"), FRAME))
            assert await asyncio.to_thread(has_pending, daemon.endpoints.metrics)
            daemon.server.stop()
            assert await run("--target", daemon.endpoints.grpc) == 1
            await held

    assert "not serving: the daemon says NOT_SERVING" in capsys.readouterr().out


async def test_a_daemon_that_is_not_there_is_not_serving(capsys):
    assert await run("--json", "--target", "127.0.0.1:1") == 1

    record = json.loads(capsys.readouterr().out)
    assert not record["serving"]
    assert record["reason"].startswith("UNAVAILABLE: ")
