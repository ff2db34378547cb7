"""The program itself as a process of its own, and what it holds of the machine."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.builders import write_tiny_caffe_model
from tests.fuzz.scene import FLOW_SHAPE, PAIR, RGB_SHAPE, SPARE
from tsnd_builder import commands
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality

_ROOT = Path(__file__).parents[2]
_STOP_S = 30
_MODELS = {"tiny_rgb": Modality.RGB, "tiny_flow": Modality.FLOW, SPARE: Modality.RGB}
_OPTIONS = (
    *("--backend", "synthetic", "--port", "0", "--metrics-port", "0"),
    *("--model-control", "explicit", "--pairs", f"{PAIR}=tiny_rgb+tiny_flow"),
    # So that what is good is never shed for what is not.
    *("--max-queue-size", "8192"),
)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds.

    Attributes:
        rss_kib: Memory, KiB.
        files: What its open files are, such as socket or /dev/shm/name, and how many.
        threads: Threads.
    """

    rss_kib: int
    files: Counter[str]
    threads: int


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """A running daemon."""

    process: subprocess.Popen[str]
    grpc: str
    metrics: str
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def holdings(self) -> Holdings:
        """Say what it holds at the moment; Linux only."""
        folder = Path("/proc") / str(self.process.pid)
        match = re.search(r"VmRSS:\s+(\d+) kB", (folder / "status").read_text())
        assert match is not None
        return Holdings(
            rss_kib=int(match[1]),
            files=Counter(_open_files(folder / "fd")),
            threads=len(list((folder / "task").iterdir())),
        )

    def stop(self) -> int | None:
        """Send SIGTERM; returns the exit status, None when it does not end."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_STOP_S)
        return self.process.returncode


def _open_files(folder: Path) -> Iterator[str]:
    for link in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(link.readlink()).partition(":[")[0]


@contextmanager
def daemon_process() -> Iterator[DaemonProcess]:
    """Build tiny models and serve them; kills what has not been stopped at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_repository(folder)
        log = folder / "log"
        with log.open("w") as stderr, _started(folder / "models", stderr.fileno()) as process:
            assert process.stdout is not None
            facts = dict(word.split("=", 1) for word in process.stdout.readline().split()[2:])
            assert facts, log.read_text()
            yield DaemonProcess(process, facts["grpc"], facts["metrics"], log)


@contextmanager
def _started(repository: Path, stderr: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tsnd_daemon", "--model-repository", str(repository)]
    roots = os.pathsep.join(str(_ROOT / root) for root in ("protos", "daemon"))
    with subprocess.Popen(
        [*command, *_OPTIONS],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONPATH": roots},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _write_repository(folder: Path) -> None:
    for name, modality in _MODELS.items():
        caffe = folder / f"caffe-{name}"
        caffe.mkdir()
        channels = 10 if modality is Modality.FLOW else 3
        prototxt, weights, labels = write_tiny_caffe_model(caffe, channels=channels)
        commands.build(
            commands.CaffeFiles(prototxt, weights, BNStorage.VARIANCE),
            labels=labels,
            name=name,
            modality=modality,
            crops=1,
            frame_size=FLOW_SHAPE[1:] if modality is Modality.FLOW else RGB_SHAPE[:2],
            repository=folder / "models",
        )
