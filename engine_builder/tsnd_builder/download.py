"""Downloads one file over HTTP or HTTPS, or copies it from a file: address.

Bytes go to NAME.part, with NAME.part.json beside it to say what they are a part of. A later call
goes on where they end, if the server still has that very file, and starts over if not.
"""

import http.client
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, NoReturn, cast
from urllib.parse import SplitResult, urlsplit

from tsnd_builder.errors import FetchError

READ_TIMEOUT_S = 30.0
"""How long a server may say nothing."""

REMEDY = (
    "Give a mirror with --url, or download the model by hand and give its files to "
    "`tsn-build build`."
)

_CHUNK_BYTES = 64 * 1024
_REMOTE = ("http", "https")
_RANGE_NOT_SATISFIABLE = 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

Report = Callable[[str], None]
"""Takes a line for the person who waits."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a part is a part of; any of the three may be unknown."""

    url: str
    etag: str | None
    last_modified: str | None
    size_bytes: int | None

    @property
    def validator(self) -> str | None:
        """What lets a server tell that it still has this very file (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def check_url(url: str) -> SplitResult:
    """Split an address, if it is one that may be downloaded from.

    Raises:
        FetchError: When it is not http, https or file, or not an address at all.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as err:
        raise FetchError(f"{url!r} is not an address: {err}.") from err
    local = parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path
    if not local and not (parts.scheme in _REMOTE and parts.hostname):
        raise FetchError(
            f"{url!r}: give an address that starts with https://, http:// or file:///."
        )
    if not url.isascii() or not url.isprintable() or " " in url:
        raise FetchError(f"{url!r}: write spaces and letters beyond ASCII as %XX.")
    return parts


def without_secrets(url: str) -> str:
    """Return an address without user, password and query, which may grant access."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def download(
    url: str, part: Path, *, max_bytes: int, read_timeout_s: float, report: Report
) -> None:
    """Download a file, or the rest of it.

    Args:
        url: Its address.
        part: Where it goes; what lies there is kept and continued if it can be.
        max_bytes: More is refused.
        read_timeout_s: How long the server may say nothing.
        report: Hears how far it is.

    Raises:
        FetchError: When it cannot be had; what came is kept where it is of use.
        OSError: When it cannot be written.
    """
    parts = check_url(url)
    if parts.scheme == "file":
        _copy(url, Path(urllib.request.url2pathname(parts.path)), part, max_bytes=max_bytes)
        return
    known = _read_state(part, url)
    start = part.stat().st_size if known else 0
    if known and start and start == known.size_bytes:
        return
    response, start = _ask(url, known, start, read_timeout_s)
    with response:
        state = known if known and start else _state_of(url, response)
        if state.size_bytes is not None and state.size_bytes > max_bytes:
            discard(part)
            _refuse(url, f"is {state.size_bytes} bytes, more than the {max_bytes} allowed")
        _write_state(part, state)
        report(_beginning(url, state, start))
        with part.open("ab" if start else "wb") as file:
            received = start + _receive(
                url, response, file, start=start, state=state, max_bytes=max_bytes, report=report
            )
    if state.size_bytes is not None and received != state.size_bytes:
        _refuse(
            url,
            f"ended after {received} of {state.size_bytes} bytes. Run the command again: what came "
            "is kept where it can be continued",
        )


def discard(part: Path) -> None:
    """Remove a part and what is known of it."""
    part.unlink(missing_ok=True)
    forget(part)


def forget(part: Path) -> None:
    """Remove what is known of a part; it is whole, or of no use."""
    _state_path(part).unlink(missing_ok=True)


def _copy(url: str, source: Path, part: Path, *, max_bytes: int) -> None:
    forget(part)
    if not source.is_file() or not os.access(source, os.R_OK):
        _refuse(url, "is not a file that can be read")
    with source.open("rb") as reader, part.open("wb") as writer:
        copied = 0
        while chunk := reader.read(_CHUNK_BYTES):
            copied += len(chunk)
            if copied > max_bytes:
                discard(part)
                _refuse(url, f"is more than the {max_bytes} bytes allowed")
            writer.write(chunk)


def _ask(
    url: str, known: _State | None, start: int, read_timeout_s: float
) -> tuple[http.client.HTTPResponse, int]:
    """Ask for the rest of a file, or all of it; returns the answer and where its bytes belong."""
    if known and known.validator and start:
        headers = {"Range": f"bytes={start}-", "If-Range": known.validator}
        response = _request(url, headers, read_timeout_s)
        if response is not None:
            if response.status == http.client.PARTIAL_CONTENT and _continues(
                response, known, start
            ):
                return response, start
            if response.status == http.client.OK:
                return response, 0
            response.close()
    response = _request(url, {}, read_timeout_s)
    if response is None or response.status != http.client.OK:
        status = _RANGE_NOT_SATISFIABLE if response is None else response.status
        if response is not None:
            response.close()
        _refuse(url, f"was answered with status {status}")
    return response, 0


def _continues(response: http.client.HTTPResponse, known: _State, start: int) -> bool:
    """Tell whether a partial answer is the rest of what we have, of the same file."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != start:
        return False
    return known == _State(
        url=known.url,
        etag=response.headers.get("ETag", known.etag),
        last_modified=response.headers.get("Last-Modified", known.last_modified),
        size_bytes=int(found[2]),
    )


def _state_of(url: str, response: http.client.HTTPResponse) -> _State:
    length = response.headers.get("Content-Length", "")
    return _State(
        url=without_secrets(url),
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        size_bytes=int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None,
    )


def _receive(
    url: str,
    response: http.client.HTTPResponse,
    file: IO[bytes],
    *,
    start: int,
    state: _State,
    max_bytes: int,
    report: Report,
) -> int:
    """Write an answer's body to a file; returns how many bytes that were."""
    received, tenths = 0, 0
    while chunk := _read(url, response):
        received += len(chunk)
        if start + received > max_bytes:
            forget(Path(file.name))  # too long to be continued
            _refuse(url, f"sent more than the {max_bytes} bytes allowed")
        file.write(chunk)
        if state.size_bytes and (done := 10 * (start + received) // state.size_bytes) > tenths:
            tenths = done
            report(f"{10 * done} % of {_megabytes(state.size_bytes)}")
    return received


def _read(url: str, response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as err:
        raise FetchError(
            f"{without_secrets(url)} broke off: {_reason(err)}. Run the command again: what came "
            f"is kept where it can be continued. {REMEDY}"
        ) from err


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener that knows HTTP and HTTPS only, through the usual proxies.

    It follows redirections, but has no handler for files or FTP, so they cannot lead there.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "tsn-build")]
    return opener


def _request(
    url: str, headers: Mapping[str, str], read_timeout_s: float
) -> http.client.HTTPResponse | None:
    """Send one request; None says that the range asked for does not exist."""
    request = urllib.request.Request(url, headers=dict(headers))
    try:
        response = _opener().open(request, timeout=read_timeout_s)
    except urllib.error.HTTPError as err:
        err.close()
        if err.code == _RANGE_NOT_SATISFIABLE and headers:
            return None
        raise FetchError(f"{without_secrets(url)} {_meaning(err.code)}. {REMEDY}") from err
    except (OSError, http.client.HTTPException, ValueError) as err:
        raise FetchError(
            f"{without_secrets(url)} cannot be reached: {_reason(err)}. {REMEDY}"
        ) from err
    return cast(http.client.HTTPResponse, response)  # what HTTPHandler returns


def _meaning(status: int) -> str:
    if status in (401, 403, 451):
        return f"is not public (status {status})"
    if status in (404, 410):
        return f"is not there, or not any more (status {status})"
    if 300 <= status < 400:
        return f"leads on to an address that is not followed (status {status})"
    return f"was answered with status {status}"


def _reason(err: Exception) -> str:
    cause = err.reason if isinstance(err, urllib.error.URLError) else err
    match cause:
        case ssl.SSLError():
            return f"the connection is not secure ({cause.reason or cause})"
        case socket.gaierror():
            return "no such host is known, or there is no network"
        case TimeoutError():
            return "it does not answer in time"
        case ConnectionRefusedError():
            return "it refuses connections"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(cause) or type(cause).__name__


def _refuse(url: str, reason: str) -> NoReturn:
    raise FetchError(f"{without_secrets(url)} {reason}. {REMEDY}")


def _beginning(url: str, state: _State, start: int) -> str:
    size = "" if state.size_bytes is None else f", {_megabytes(state.size_bytes)}"
    resumed = f", going on at {_megabytes(start)}" if start else ""
    return f"downloading {without_secrets(url)}{size}{resumed}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path, url: str) -> _State | None:
    """Return what is known of a part, if it is one of this address that can be continued."""
    try:
        state = _State(**json.loads(_state_path(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    whole = part.is_file() and state.url == without_secrets(url)
    return state if whole else None


def _write_state(part: Path, state: _State) -> None:
    """Note what a part will be a part of; nothing, if it could not be continued."""
    path = _state_path(part)
    if state.validator is None:
        path.unlink(missing_ok=True)
        return
    staging = path.with_name(f"{path.name}.new")
    staging.write_text(json.dumps(asdict(state)), encoding="utf-8")
    staging.replace(path)
