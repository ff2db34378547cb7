"""Runs the real Prometheus server, as Debian and Ubuntu package it, on a free port."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
RULES = DEPLOY / "tsnd.rules.yml"
REASON = "Prometheus is not installed. On Debian and Ubuntu: apt install prometheus"
START_S = 30.0

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason=REASON
)


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def query(self, expression: str) -> list[Any]:
        """Evaluate PromQL now; returns the series of the result."""
        answer = await self._get(f"query?{urlencode({'query': expression})}")
        result = answer["data"]["result"]
        return [result] if answer["data"]["resultType"] == "scalar" else list(result)

    async def value(self, expression: str) -> float:
        """Evaluate PromQL that has one series."""
        (series,) = await self.query(expression)
        return float(series["value"][1])

    async def rules(self) -> list[Any]:
        """All rules, with their health."""
        groups = (await self._get("rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, what: str) -> Any:
        return await asyncio.to_thread(_read, f"{self._url}/api/v1/{what}")


def _read(url: str) -> Any:
    with urlopen(url) as response:
        return json.load(response)


@asynccontextmanager
async def running_prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """Run the server with the configuration of deploy/, at a fast pace, on one daemon.

    Args:
        folder: Where its data goes.
        target: host:port of the daemon's metrics.
    """
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(DEPLOY / file) for file in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        "prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    reading: asyncio.Task[None] | None = None
    try:
        assert process.stderr is not None
        async with asyncio.timeout(START_S):
            await _line_with(process.stderr, "Server is ready")
        reading = asyncio.create_task(_read_on(process.stderr))
        yield Prometheus(f"http://127.0.0.1:{_listening_port(process.pid)}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def _line_with(stream: asyncio.StreamReader, text: str) -> None:
    """Read up to a line; fails with all of them when there is none."""
    lines = []
    while line := await stream.readline():
        lines.append(line.decode())
        if text in lines[-1]:
            return
    raise AssertionError("".join(lines))


async def _read_on(stream: asyncio.StreamReader) -> None:
    """Let a process say what it wants."""
    while await stream.readline():
        pass


def _listening_port(pid: int) -> int:
    """Return the port of IPv4 on which a process listens; it does not tell which it got."""
    links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    sockets = {str(link) for link in links}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    (row,) = listening
    return int(row[1].partition(":")[2], 16)
