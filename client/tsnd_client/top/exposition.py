"""Reads a daemon's metrics: Prometheus' text format, as far as tsnd writes it."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import urlopen

from tsnd_client.errors import BadReply, DaemonUnavailable, InputError

_MAX_BYTES = 16 * 1024 * 1024
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)(?: -?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with its labels."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All metrics at one moment.

    Attributes:
        at_s: When, on a monotonic clock.
        samples: By the name of the metric.
    """

    at_s: float
    samples: Mapping[str, tuple[Sample, ...]]

    def total(self, name: str, **labels: str) -> float:
        """Add up a metric over all samples that have some labels; 0 where there is none."""
        return sum(sample.value for sample in self.having(name, **labels))

    def having(self, name: str, **labels: str) -> Iterator[Sample]:
        """Go through the samples of a metric that have some labels."""
        for sample in self.samples.get(name, ()):
            if labels.items() <= sample.labels.items():
                yield sample


def metrics_url(address: str) -> str:
    """Return the address of a daemon's metrics.

    Args:
        address: HOST:PORT of its metrics, or a whole URL.

    Raises:
        InputError: When it is neither.
    """
    url = address if "://" in address else f"http://{address}/metrics"
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port != 0)
    except ValueError:
        is_good = False
    if not is_good:
        raise InputError(
            f"{address!r} is no address of metrics: give HOST:PORT, such as 127.0.0.1:8002, or "
            "the URL that tsnd prints when it is ready."
        )
    return url


def scrape(url: str, *, timeout_s: float) -> Scrape:
    """Ask a daemon for its metrics.

    Args:
        url: From `metrics_url`.
        timeout_s: Longest wait for any part of the answer.

    Raises:
        DaemonUnavailable: When nobody answers, or with an error.
        BadReply: When the answer is something else.
    """
    try:
        with urlopen(url, timeout=timeout_s) as response:
            data: bytes = response.read(_MAX_BYTES + 1)
    except (OSError, HTTPException) as err:
        reason = getattr(err, "reason", None) or err
        raise DaemonUnavailable(url, str(reason)) from err
    if len(data) > _MAX_BYTES:
        raise BadReply(f"{url} answers with more than {_MAX_BYTES} bytes: are these metrics?")
    try:
        samples = parse(data.decode())
    except ValueError as err:
        raise BadReply(f"{url} does not answer with metrics: {err}") from err
    if not any(name.startswith("tsnd_") for name in samples):
        raise BadReply(f"{url} has metrics, but none of tsnd. Is it the daemon's metrics_port?")
    return Scrape(time.monotonic(), samples)


def parse(text: str) -> dict[str, tuple[Sample, ...]]:
    """Read Prometheus' text format; raises ValueError with the line that is none."""
    found: dict[str, list[Sample]] = {}
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:80]!r} is no sample")
        name, labels, value = match.groups()
        found.setdefault(name, []).append(Sample(_labels(labels or ""), float(value)))
    return {name: tuple(samples) for name, samples in found.items()}


def _labels(text: str) -> dict[str, str]:
    labels, at = {}, 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if match is None:
            raise ValueError(f"{text[:80]!r} are no labels")
        labels[match[1]] = _ESCAPED.sub(_unescaped, match[2])
        at = match.end()
    return labels


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
