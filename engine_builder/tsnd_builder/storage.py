"""Writes files and folders so that a reader sees a whole one or none."""

import fcntl
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tsnd_builder.errors import PackageError

_ADDED = re.compile(r"(model|tensorrt)[a-z0-9-]*-[0-9a-f]{8}\.(onnx|plan)")
_STAGED = re.compile(r"\.((model|tensorrt)[a-z0-9-]*\.(onnx|plan)|[a-z]+\.json)\.\d+")
_LOCK = ".tsn-build.lock"


def replace_file(path: Path, data: bytes) -> None:
    """Write a file down to the disk; until it is whole, its old content stays.

    Raises:
        PackageError: When it cannot be written.
    """
    staging = path.parent / f".{path.name}.{os.getpid()}"
    try:
        try:
            staging.unlink(missing_ok=True)  # a killed process had the same id, as in containers
            _write(staging, data)
            staging.replace(path)
            sync_folder(path.parent)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as err:
        raise PackageError(f"cannot write {path}: {err.strerror}.") from err


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder, down to the disk."""
    folder.mkdir()
    for name, data in files.items():
        _write(folder / name, data)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, *, keep: Collection[str]) -> None:
    """Remove what was replaced or left by a killed process; call it when no other may write.

    Args:
        folder: The package.
        keep: The files that belong to it; of others, graphs and engines named as ours go,
            and files that were not finished.
    """
    for path in folder.iterdir():
        is_ours = _ADDED.fullmatch(path.name) or _STAGED.fullmatch(path.name)
        if is_ours and path.name not in keep and not path.is_dir():
            path.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other builders out of a folder while one writes.

    Raises:
        OSError: When there is no lock to be had; a link in its place is not followed.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
