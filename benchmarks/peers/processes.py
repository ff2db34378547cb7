"""Starts and stops servers of many processes, and reads how much processor time they use."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_S = 20.0
_POLL_S = 0.2
_LOG_TAIL = 600
"""Characters of a log that an error quotes."""


class NotStarted(Exception):
    """A server did not get ready; says what its log ends with."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What the kernel says of one process.

    Attributes:
        pid: Its number.
        parent: That of its parent.
        started: When, in clock ticks since boot: with the pid it names a process for good.
        ticks: Processor time, its own and that of its children that have ended.
    """

    pid: int
    parent: int
    started: int
    ticks: int


def parse_stat(text: str) -> ProcessStat:
    """Read /proc/PID/stat; the name, in parentheses, may hold anything."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()  # from the third field of proc(5) on
    return ProcessStat(
        pid=int(head.partition(" ")[0]),
        parent=int(fields[1]),
        started=int(fields[19]),
        ticks=sum(int(field) for field in fields[11:15]),
    )


def descendants(root: int, processes: Sequence[ProcessStat]) -> list[ProcessStat]:
    """Return a process and all that it has started, directly or not."""
    children: dict[int, list[ProcessStat]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in processes if process.pid == root]
    for process in found:  # grows meanwhile
        found += children.get(process.pid, [])
    return found


def processes() -> list[ProcessStat]:
    """Return all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            found.append(parse_stat(path.read_text()))
    return found


def cpu_s(root: int) -> float:
    """Return the processor time of a process and all that it has started, seconds."""
    return sum(process.ticks for process in descendants(root, processes())) / _TICKS_PER_S


@asynccontextmanager
async def running(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: Path,
    *,
    is_ready: Callable[[], bool],
    patience_s: float,
) -> AsyncIterator[int]:
    """Run a server until the block ends; yields its pid.

    Args:
        command: To start it.
        environment: Added to this process's.
        log: File for what it prints.
        is_ready: Says whether it answers.
        patience_s: Longest it may take to.

    Raises:
        NotStarted: It ended, or did not answer in time.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        await _until_ready(process, is_ready, patience_s, log)
        yield process.pid
    finally:
        await _stop(process)


async def _until_ready(
    process: asyncio.subprocess.Process, is_ready: Callable[[], bool], patience_s: float, log: Path
) -> None:
    try:
        async with asyncio.timeout(patience_s):
            while not await asyncio.to_thread(is_ready):
                if process.returncode is not None:
                    raise NotStarted(f"it ended with status {process.returncode}: {_tail(log)}")
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise NotStarted(f"it did not answer within {patience_s:g} s: {_tail(log)}") from None


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a server, and what it leaves behind."""
    family = descendants(process.pid, processes())
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
    alive = {(each.pid, each.started) for each in processes()}
    for each in family:
        if (each.pid, each.started) in alive:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL:].strip() or "it printed nothing"
