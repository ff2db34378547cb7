"""`tsn top` at a real daemon."""

import asyncio
import json
import os
import pty
import signal
import sys

from tests.daemons import running_daemon
from tests.streams import endless, run_stream
from tsnd_client.cli import main

TSN = [sys.executable, "-c", "import sys; from tsnd_client.cli import main; sys.exit(main())"]
SHORT = ("--interval-s", "0.5")


async def at_work(daemon, look):
    """Do something while a stream goes on."""
    over = asyncio.Event()
    streaming = asyncio.create_task(run_stream(daemon.endpoints.grpc, endless(0, over)))
    try:
        return await asyncio.to_thread(look)
    finally:
        over.set()
        assert (await streaming).end is None


async def test_a_table_tells_what_each_model_does(tiny_repository, capsys):
    async with running_daemon(tiny_repository, backend="onnxruntime") as daemon:
        arguments = ["top", "--once", "--metrics", daemon.endpoints.metrics, *SHORT]
        assert await at_work(daemon, lambda: main(arguments)) == 0

    head, titles, *rows = capsys.readouterr().out.splitlines()
    assert daemon.endpoints.metrics in head
    assert "1 streams" in head
    assert titles.split()[:3] == ["model", "engine", "snippets/s"]
    flow, rgb = sorted(row.split() for row in rows)
    assert flow[:5] == ["tiny_flow", "1", "onnxruntime", "fp32", "0.0"]
    assert rgb[:4] == ["tiny_rgb", "1", "onnxruntime", "fp32"]
    assert float(rgb[4]) > 0


async def test_a_script_reads_the_same_as_json(tiny_repository, capsys):
    async with running_daemon(tiny_repository) as daemon:
        address = daemon.endpoints.metrics.removeprefix("http://").removesuffix("/metrics")
        arguments = ["top", "--json", "--metrics", address, *SHORT]
        assert await at_work(daemon, lambda: main(arguments)) == 0

    models = {row["model"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    rgb = models["tiny_rgb"]
    assert rgb["snippets_per_s"] > 0
    assert 1 <= rgb["mean_batch"] <= 8
    assert 0 < rgb["p50_s"] <= rgb["p99_s"]
    assert 0.99 < sum(rgb["stages"]) < 1.01
    assert models["tiny_flow"]["stages"] is None


def test_a_daemon_that_is_not_there_ends_it_with_status_1(capsys):
    assert main(["top", "--metrics", "127.0.0.1:1"]) == 1

    assert "Is tsnd running there?" in capsys.readouterr().err


def test_an_address_that_is_none_ends_it_with_status_2(capsys):
    assert main(["top", "--metrics", "file:///etc/passwd"]) == 2

    assert "give HOST:PORT" in capsys.readouterr().err


async def test_on_a_terminal_it_goes_on_until_ctrl_c_also_without_the_daemon(tiny_repository):
    terminal, inner = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"}
    seen = bytearray()

    def read_until(text):
        while text not in seen:
            seen.extend(os.read(terminal, 4096))

    async with running_daemon(tiny_repository) as daemon:
        command = [*TSN, "top", "--metrics", daemon.endpoints.metrics, "--interval-s", "0.1"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=inner, stderr=asyncio.subprocess.DEVNULL, env=env
        )
        os.close(inner)
        try:
            async with asyncio.timeout(30):
                await asyncio.to_thread(read_until, b"tiny_rgb")
        except BaseException:
            process.kill()
            raise
    try:
        async with asyncio.timeout(30):
            await asyncio.to_thread(read_until, b"Is tsnd running there?")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(terminal)
