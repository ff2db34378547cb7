"""Unpacks archives from strangers: zip, and tar plain or in gzip, bzip2 or xz.

Only plain files and folders come out, under names that stay inside, and every bound is on bytes
that were counted, never on what a header claims. Nothing is extracted by the libraries
themselves; they only list members and decompress.
"""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from tsnd_builder.errors import ArchiveError

_CHUNK_BYTES = 1024 * 1024

# What tarfile may read to reach the next member: padding, headers, long names. It holds them in
# memory at the size their header claims, so this is also the bound on that.
_TAR_HEADER_BYTES = 1024 * 1024

# zipfile reads the whole directory of an archive before it lists anything; a thousand members
# with the longest names that we take come to about 1 MB.
_ZIP_DIRECTORY_BYTES = 4 * 1024**2
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP_END_MAGIC = b"PK\x05\x06"
_ZIP64_LOCATOR_MAGIC = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_ZIP_COMMENT_BYTES = 65_535
_ZIP_ENCRYPTED = 0x1

_MAX_DEPTH = 16
_MAX_PART_BYTES = 255

_DAMAGED = (
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what may come out of an archive; the models are two files of 0.1 GB."""

    members: int = 1_000
    file_bytes: int = 512 * 1024**2
    total_bytes: int = 1024**3


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an archive; `data` is None for a folder and valid until the next one."""

    name: str
    data: _Readable | None = None


def is_archive(path: Path) -> bool:
    """Tell by its first bytes whether a file is an archive that `unpack` knows."""
    return _kind(path) is not None


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> tuple[str, ...]:
    """Unpack an archive into a new folder.

    Args:
        archive: The file.
        folder: Made here; whatever is in it after an error is for the caller to remove.
        limits: Bounds on what may come out.

    Returns:
        The names of the files, relative to the folder, with '/' between their parts.

    Raises:
        ArchiveError: When it is damaged, breaks a limit, or has a member that is neither a plain
            file nor a folder or whose name leads out of the folder.
        OSError: When the disk does not play along.
    """
    try:
        return _unpack(archive, folder, limits or Limits())
    except _DAMAGED as err:
        raise ArchiveError(f"is damaged: {err or type(err).__name__}") from err
    except OSError as err:
        if err.errno is None:  # how gzip and bz2 report bad data
            raise ArchiveError(f"is damaged: {err}") from err
        raise


def _unpack(archive: Path, folder: Path, limits: Limits) -> tuple[str, ...]:
    folder.mkdir()
    names: list[str] = []
    left_bytes = limits.total_bytes
    with ExitStack() as stack:
        for count, member in enumerate(_members(archive, limits, stack), start=1):
            if count > limits.members:
                raise ArchiveError(f"has more than {limits.members} members")
            name = _safe_name(member.name)
            if member.data is None:
                _make_folder(folder, name)
            else:
                bound = min(limits.file_bytes, left_bytes)
                left_bytes -= _write(folder, name, member.data, max_bytes=bound)
                names.append(str(name))
    return tuple(names)


def _members(archive: Path, limits: Limits, stack: ExitStack) -> Iterator[_Member]:
    kind = _kind(archive)
    if kind is None:
        raise ArchiveError("is neither a zip nor a tar archive")
    if kind == "zip":
        return _zip_members(archive, stack)
    stream = stack.enter_context(_decompress(archive, kind))
    return _tar_members(stream, limits)


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    for kind, magic in {
        "zip": b"PK\x03\x04",
        "gzip": b"\x1f\x8b",
        "bzip2": b"BZh",
        "xz": b"\xfd7zXZ\x00",
    }.items():
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" else None


def _decompress(archive: Path, kind: str) -> AbstractContextManager[_Readable]:
    match kind:
        case "gzip":
            return gzip.open(archive)
        case "bzip2":
            return bz2.open(archive)
        case "xz":
            return lzma.open(archive)
        case _:
            return archive.open("rb")


def _zip_members(archive: Path, stack: ExitStack) -> Iterator[_Member]:
    _check_zip_directory(archive)
    opened = stack.enter_context(zipfile.ZipFile(archive))
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"has {info.filename!r}, which is a link or a device")
        if info.flag_bits & _ZIP_ENCRYPTED:
            raise ArchiveError(f"has {info.filename!r}, which is encrypted")
        # zipfile bounds what it decompresses at once for these two alone.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"has {info.filename!r}, which is neither stored nor deflated")
        if info.is_dir():
            yield _Member(info.filename)
        else:
            with opened.open(info) as data:
                yield _Member(info.filename, data)


def _check_zip_directory(archive: Path) -> None:
    """Refuse an archive whose directory is large, before zipfile reads it into memory."""
    size = archive.stat().st_size
    tail_bytes = min(size, _ZIP64_LOCATOR_BYTES + _ZIP_END.size + _ZIP_COMMENT_BYTES)
    with archive.open("rb") as file:
        file.seek(size - tail_bytes)
        tail = file.read()
    at = len(tail) - _ZIP_END.size
    if tail[at : at + 4] != _ZIP_END_MAGIC:
        at = tail.rfind(_ZIP_END_MAGIC)
    if at < 0 or at + _ZIP_END.size > len(tail):
        raise ArchiveError("is damaged: a zip archive without its end")
    directory_bytes = _ZIP_END.unpack_from(tail, at)[5]
    is_zip64 = tail[max(at - _ZIP64_LOCATOR_BYTES, 0) : at].startswith(_ZIP64_LOCATOR_MAGIC)
    if is_zip64 or directory_bytes > _ZIP_DIRECTORY_BYTES:
        raise ArchiveError("has too many members, or is a zip64 archive")


class _Metered:
    """A stream that stops when more is read from it than it was given to spend."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self.allowance_bytes = _TAR_HEADER_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.allowance_bytes -= len(data)
        if self.allowance_bytes < 0:
            raise ArchiveError("has a member or a header that is too large")
        return data


def _tar_members(stream: _Readable, limits: Limits) -> Iterator[_Member]:
    metered = _Metered(stream)
    with tarfile.open(fileobj=metered, mode="r|") as opened:  # type: ignore[call-overload] # reads only
        while (info := opened.next()) is not None:
            opened.members.clear()  # it would keep every header
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
                raise ArchiveError(f"has {info.name!r}, which is a link or a device")
            if info.sparse is not None or info.size < 0:
                raise ArchiveError(f"has {info.name!r}, which is sparse or of no valid size")
            if info.isdir():
                yield _Member(info.name)
            else:
                metered.allowance_bytes = limits.file_bytes + _TAR_HEADER_BYTES
                yield _Member(info.name, opened.extractfile(info))
            metered.allowance_bytes = _TAR_HEADER_BYTES


def _safe_name(name: str) -> PurePosixPath:
    """Return a member's name in one form, if it stays inside the folder."""
    text = name.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts:
        raise ArchiveError(f"has {name[:100]!r}, whose name leads out of the folder")
    if ":" in text or not text.isprintable():
        raise ArchiveError(f"has {name[:100]!r}, whose name is not one for a file")
    if len(parts) > _MAX_DEPTH or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise ArchiveError(f"has {name[:100]!r}, whose name is too long")
    return PurePosixPath(*parts)


def _make_folder(folder: Path, name: PurePosixPath) -> None:
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as err:
        raise ArchiveError(f"has {str(name)!r} both as a file and as a folder") from err


def _write(folder: Path, name: PurePosixPath, data: _Readable, *, max_bytes: int) -> int:
    """Write a file of at most `max_bytes`; returns its size."""
    if name == PurePosixPath():
        raise ArchiveError("has a file without a name")
    _make_folder(folder, name.parent)
    try:
        file = (folder / name).open("xb")
    except FileExistsError as err:
        raise ArchiveError(f"has {str(name)!r} twice") from err
    written = 0
    with file:
        while chunk := data.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > max_bytes:
                raise ArchiveError(f"has {str(name)!r}, which is more than {max_bytes} bytes")
            file.write(chunk)
    return written
