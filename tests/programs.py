"""Runs `tsnd` as the program that it is, on free ports."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PYTHONPATH = os.pathsep.join(["protos", "daemon", "client"])
ENDED_S = 30.0


@dataclass
class Program:
    """A daemon in a process of its own.

    Attributes:
        process: The process.
        ready: Its line on standard output; empty when it ended instead.
    """

    process: "subprocess.Popen[str]"
    ready: str

    @property
    def target(self) -> str:
        """HOST:PORT of gRPC."""
        return self.ready.split("grpc=")[1].split()[0]

    @property
    def metrics(self) -> str:
        """Where its metrics are."""
        return self.ready.split("metrics=")[1].split()[0]

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal that ends it; returns its status and what it logged."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=ENDED_S)
        return self.process.returncode, log


@contextmanager
def program(
    *arguments: str, ports: tuple[int, int] = (0, 0), environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a daemon until the end, when it is killed unless it has ended."""
    port, metrics_port = map(str, ports)
    command = [sys.executable, "-m", "tsnd_daemon", "--backend", "synthetic"]
    command += ["--port", port, "--metrics-port", metrics_port, *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **(environment or {})},
    ) as process:
        try:
            assert process.stdout is not None
            yield Program(process, process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def run_tsnd(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one of its commands that end by themselves."""
    return subprocess.run(
        [sys.executable, "-m", "tsnd_daemon", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        timeout=ENDED_S,
        check=False,
    )


@contextmanager
def service_manager(folder: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """The socket that systemd would listen on; yields it and the environment it would give."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "notify"))
        listener.settimeout(20)
        yield listener, {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "400000"}
