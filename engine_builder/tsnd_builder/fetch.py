"""Fetches published Caffe models: download, check, unpack, and remember what came.

FOLDER/NAME holds each download and FOLDER/STEM what an archive held; both appear in one rename.
FOLDER/fetch.lock has the hash of everything that was ever accepted. No hash was published, so the
first download is trusted, and everything after it has to be the same.
"""

import difflib
import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from tsnd_builder.archives import is_archive, unpack
from tsnd_builder.download import (
    READ_TIMEOUT_S,
    REMEDY,
    Report,
    check_url,
    discard,
    download,
    forget,
    without_secrets,
)
from tsnd_builder.errors import ArchiveError, FetchError
from tsnd_builder.published import PUBLISHED, PublishedFile, PublishedModel

LOCK_FILE = "fetch.lock"

_LOCK_FORMAT = 1
_EXCLUSION = ".tsn-build.lock"
_STAGING = ".fetch-staging"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HTML = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A published model on this machine.

    Attributes:
        model: What was published.
        prototxt: Its network description.
        weights: Its caffemodel.
    """

    model: PublishedModel
    prototxt: Path
    weights: Path

    def __str__(self) -> str:
        """Say where it is and what to do with it."""
        name = self.model.name.replace("/", "_")
        return (
            f"{self.model.name}: {self.model.modality}, {self.model.classes} classes\n"
            f"tsn-build build --prototxt {self.prototxt} --weights {self.weights} "
            f"--labels LABELS.txt --modality {self.model.modality} --name {name} --repository DIR"
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is remembered of a file; `members` are the hashes of what an archive held."""

    sha256: str
    size_bytes: int
    url: str
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Order:
    """One file to have in a folder, where from, and the hash that was asked for."""

    file: PublishedFile
    url: str
    sha256: str | None
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.file.name

    @property
    def part(self) -> Path:
        return self.folder / f"{self.file.name}.part"

    @property
    def unpacked(self) -> Path:
        return self.folder / Path(self.file.name).stem


def list_published() -> str:
    """Describe the published models, one per line."""
    width = max(map(len, PUBLISHED))
    lines = [
        f"{model.name:<{width}}  {model.modality:<4}  {model.classes:>3} classes  {model.main.url}"
        f"{'' if model.confirmed else '  (address inferred, not confirmed)'}"
        for model in PUBLISHED.values()
    ]
    return "\n".join(lines)


def fetch(
    name: str,
    folder: Path,
    *,
    url: str | None = None,
    sha256: str | None = None,
    report: Report,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> FetchedModel:
    """Have a published model in a folder; the network is used for what is not there yet.

    Args:
        name: A key of `PUBLISHED`.
        folder: Where to put it; made if it does not exist.
        url: Another address: of a folder with the model's files, when it ends with '/', or else
            of its archive or caffemodel.
        sha256: What the archive or caffemodel must have, in hex; replaces what is remembered.
        report: Hears what is going on, a line at a time.
        read_timeout_s: How long a server may say nothing.

    Returns:
        Where its files are.

    Raises:
        FetchError: When it cannot be had or is not what it was; nothing half-written has its
            final name then.
    """
    model = _find(name)
    orders = _orders(model, folder, url, _checked_hash(sha256))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder):
            entries = [_obtain(order, report, read_timeout_s) for order in orders]
    except OSError as err:
        raise FetchError(
            f"{', '.join(without_secrets(order.url) for order in orders)}: cannot write to "
            f"{folder}: {err.strerror or err}. Check the path, permissions and free space."
        ) from err
    if model.prototxt is not None:
        weights, prototxt = (order.path for order in orders)
        return FetchedModel(model, prototxt=prototxt, weights=weights)
    prototxt_name, weights_name = _caffe_files(orders[0], entries[0].members)
    unpacked = orders[0].unpacked
    return FetchedModel(model, prototxt=unpacked / prototxt_name, weights=unpacked / weights_name)


def _find(name: str) -> PublishedModel:
    model = PUBLISHED.get(name)
    if model is None:
        near = difflib.get_close_matches(name, PUBLISHED, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `tsn-build fetch --list`."
        raise FetchError(f"no published model is called {name!r}; {hint}")
    return model


def _checked_hash(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not _SHA256.fullmatch(sha256.lower()):
        raise FetchError(f"{sha256!r} is not a SHA-256: it has 64 hexadecimal digits.")
    return sha256.lower()


def _orders(
    model: PublishedModel, folder: Path, url: str | None, sha256: str | None
) -> list[_Order]:
    if url is not None:
        check_url(url)
    orders = []
    for file in model.files:
        if url is None or not (file is model.main or url.endswith("/")):
            source = file.url
        else:
            source = f"{url}{file.name}" if url.endswith("/") else url
        asked = sha256 if file is model.main else None
        orders.append(_Order(file, source, asked, folder))
    return orders


def _obtain(order: _Order, report: Report, read_timeout_s: float) -> _Entry:
    """Have one file in its place; returns what is remembered of it."""
    lock = _read_lock(order.folder)
    locked = lock.get(order.file.name)
    if locked and locked.sha256 == (order.sha256 or locked.sha256) and _in_place(order, locked):
        report(f"{order.path}: already here, sha256 {locked.sha256} as first fetched")
        return locked
    if order.file.is_archive and order.unpacked.exists():
        raise FetchError(
            f"{order.unpacked} is not what was unpacked from {order.file.name}. Move it away and "
            "run the command again."
        )
    source = order.path
    if not source.exists():
        source = order.part
        download(
            order.url,
            source,
            max_bytes=order.file.max_bytes,
            read_timeout_s=read_timeout_s,
            report=report,
        )
    entry = _accept(order, source, locked, report)
    _write_lock(order.folder, {**lock, order.file.name: entry})
    if order.file.is_archive:
        _staging(order).rename(order.unpacked)
    source.replace(order.path)
    forget(order.part)
    return entry


def _in_place(order: _Order, entry: _Entry) -> bool:
    """Tell whether what is remembered lies there unchanged."""
    if order.file.is_archive:
        return bool(entry.members) and _hashes(order.unpacked, entry.members) == entry.members
    return order.path.is_file() and _hash(order.path) == entry.sha256


def _accept(order: _Order, source: Path, locked: _Entry | None, report: Report) -> _Entry:
    """Check a file and unpack it into the staging folder; a download that fails is removed."""
    try:
        sha256 = _hash(source)
        _check_content(order, source, sha256)
        _check_hash(order, source, sha256, locked, report)
        members = _unpack(order, source) if order.file.is_archive else {}
    except FetchError:
        if source == order.part:
            discard(source)
        raise
    size_bytes = source.stat().st_size
    return _Entry(sha256, size_bytes, without_secrets(order.url), members)


def _check_content(order: _Order, source: Path, sha256: str) -> None:
    with source.open("rb") as file:
        head = file.read(1024)
    where = _where(order, source)
    if _HTML.match(head):
        raise FetchError(
            f"{where} is a web page, not a model: the file may have moved, or its server wants "
            f"something first. An address of a folder has to end with '/'. {REMEDY}"
        )
    if not head or (order.file.is_archive and not is_archive(source)):
        kind = "a zip or tar archive" if order.file.is_archive else "a model: it is empty"
        raise FetchError(f"{where} is not {kind} (sha256 {sha256}). {REMEDY}")


def _check_hash(
    order: _Order, source: Path, sha256: str, locked: _Entry | None, report: Report
) -> None:
    where = _where(order, source)
    for expected, origin in (
        (order.sha256, "--sha256"),
        (None if order.sha256 else order.file.sha256, "the table of published models"),
        (None if order.sha256 or not locked else locked.sha256, f"{LOCK_FILE}, when first fetched"),
    ):
        if expected and sha256 != expected:
            raise FetchError(
                f"{where} has sha256 {sha256}, expected {expected} ({origin}). "
                f"{'It was removed' if source == order.part else 'Move it away'}; fetch it "
                "again, from another address if it stays so. If you know that this is the right "
                f"file, give --sha256 {sha256}."
            )
    if order.sha256:
        report(f"{order.file.name}: sha256 {sha256} as asked for; noted in {LOCK_FILE}")
    elif locked or order.file.sha256:
        report(f"{order.file.name}: sha256 {sha256} as expected")
    else:
        report(
            f"{order.file.name}: no hash is known, so this one is trusted: sha256 {sha256}. "
            f"It is noted in {LOCK_FILE}, and any other is refused from now on."
        )


def _unpack(order: _Order, source: Path) -> dict[str, str]:
    """Unpack into the staging folder; returns the hashes of what came out."""
    staging = _staging(order)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        names = unpack(source, staging)
        members = _hashes(staging, dict.fromkeys(names, ""))
        _caffe_files(order, members)
    except ArchiveError as err:
        shutil.rmtree(staging, ignore_errors=True)
        raise FetchError(
            f"{_where(order, source)} {err}; nothing was kept of it. {REMEDY}"
        ) from err
    except (FetchError, OSError):
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return members


def _caffe_files(order: _Order, members: Mapping[str, str]) -> tuple[str, str]:
    """Return the names of the prototxt and the caffemodel among an archive's members."""
    visible = [
        name
        for name in sorted(members)
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    ]
    weights = [name for name in visible if name.endswith(".caffemodel")]
    prototxts = [name for name in visible if name.endswith(".prototxt")]
    deploys = [name for name in prototxts if "deploy" in PurePosixPath(name).name]
    found = deploys or prototxts
    if len(found) != 1 or len(weights) != 1:
        raise FetchError(
            f"{without_secrets(order.url)} holds {len(found)} prototxt and {len(weights)} "
            f"caffemodel files, expected one of each, among: {', '.join(visible[:10]) or 'none'}. "
            "Unpack it by hand and give the right ones to `tsn-build build`."
        )
    return found[0], weights[0]


def _where(order: _Order, source: Path) -> str:
    return without_secrets(order.url) if source == order.part else str(source)


def _staging(order: _Order) -> Path:
    return order.folder / f"{_STAGING}-{order.unpacked.name}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of those files under a folder that have one of these names."""
    found = ((path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")))
    return {
        name: _hash(path)
        for name, path in found
        if name in names and path.is_file() and not path.is_symlink()
    }


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep other fetches out of a folder while one works in it."""
    with (folder / _EXCLUSION).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise FetchError(
                f"another `tsn-build fetch` is at work in {folder}. Wait for it, or give another "
                "folder with --out."
            ) from err
        yield


def _read_lock(folder: Path) -> dict[str, _Entry]:
    path = folder / LOCK_FILE
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _LOCK_FORMAT:
            raise ValueError(f"it has format {content['format']}, not {_LOCK_FORMAT}")
        return {name: _Entry(**entry) for name, entry in content["files"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise FetchError(
            f"{path} is damaged: {err}. Restore it, or remove it to trust what is fetched next."
        ) from err


def _write_lock(folder: Path, entries: Mapping[str, _Entry]) -> None:
    content = {
        "format": _LOCK_FORMAT,
        "files": {name: asdict(entry) for name, entry in sorted(entries.items())},
    }
    staging = folder / f"{LOCK_FILE}.new"
    staging.write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")
    staging.replace(folder / LOCK_FILE)
