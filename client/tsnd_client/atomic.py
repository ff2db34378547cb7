"""Files that appear whole or not at all: written beside their place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes the path's place when the block ends well.

    Args:
        path: The place; its folder must be there.

    Yields:
        The new file, opened for writing and reading.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing_path(path) as partial, partial.open("w+b") as file:
        yield file


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Name a file to write that takes the path's place when the block ends well.

    For writers that open files themselves; otherwise as `replacing`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` left in a folder when its process was killed.

    What a process that still runs is writing stays, on this host.

    Args:
        folder: The folder; its own folders are searched, too.

    Raises:
        OSError: Something cannot be removed.
    """
    for path in list(folder.rglob(".*.partial")):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
