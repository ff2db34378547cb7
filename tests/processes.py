"""The daemon as a program of its own, for tests that stop it as an operator or a crash would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tsnd(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the program itself, on free ports; yields the process and its ready line."""
    command = [sys.executable, "-m", "tsnd_daemon", "--port", "0", "--metrics-port", "0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["protos", "daemon"])}
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            if process.poll() is None:
                process.kill()


def address_in(ready_line: str) -> str:
    """Find HOST:PORT of the gRPC door in the line that the daemon prints when it is ready."""
    return ready_line.split("grpc=")[1].split(maxsplit=1)[0]
