"""A whole run: send some, take stock, send the rest, take stock again, stop; and the verdict."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.request import urlopen

import grpc
from grpc import aio
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.fuzz.daemon import DaemonProcess, Holdings, daemon_process
from tests.fuzz.driver import Driver, sealed_region, shared_region
from tests.fuzz.scene import MODELS, SPARE, Scene, discover
from tests.fuzz.seeds import KSERVE, UNLOAD
from tests.fuzz.tally import Tally, table
from tsnd.v1 import control_pb2
from tsnd_daemon.errors import RequestError
from tsnd_daemon.metrics import reason_of
from tsnd_daemon.stages import STAGES

WARM_UP_SHARE = 0.25
MOST_RSS_KIB = 24 * 1024
"""How much memory may grow after the first quarter. It grows by 3 to 11 MiB, however many are
sent: that is what the allocator keeps. Of 150,000 messages the bound is 164 bytes for each, and
the pixels of the smallest snippet alone are 3,360."""
_MOST_THREADS = 4  # gRPC starts and ends threads as it likes
_SETTLED_S, _PAUSE_S = 10.0, 0.1
_LOG_LINES = 40
_LABELS = {
    "model": {*MODELS, SPARE},
    "version": {"1"},
    "code": {code.name for code in grpc.StatusCode},
    "reason": {reason_of(error) for error in RequestError.__subclasses__()},
    "stage": set(STAGES),
    "result": {"loaded", "failed"},
    "backend": {"synthetic"},
    "precision": {"fp32"},
}
_NUMBERS = {"le", "quantile"}


@dataclass(frozen=True, slots=True)
class Stock:
    """What is taken stock of.

    Attributes:
        held: Of the machine.
        samples: What Prometheus would read.
    """

    held: Holdings
    samples: tuple[Sample, ...]

    def __str__(self) -> str:
        """Write what is held."""
        held = self.held
        return (
            f"{held.rss_kib} KiB, {held.files.total()} files, {held.threads} threads, "
            f"{len(self.samples)} time series"
        )

    def value(self, name: str) -> float:
        """Add up a metric over its labels."""
        return sum(sample.value for sample in self.samples if sample.name == name)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Attributes:
        tally: What was sent, and what is wrong.
        duration_s: How long that took.
        stocks: After the first quarter and at the end, if the daemon was there then.
        log: The end of the daemon's log, and its first traceback.
    """

    tally: Tally
    duration_s: float
    stocks: Sequence[Stock]
    log: str

    def __str__(self) -> str:
        """Write the table, and what is held."""
        tally = self.tally
        return "\n".join(
            (
                table(tally),
                f"{tally.good} good messages among them were answered with the right numbers",
                f"{self.duration_s:.1f} s, {tally.sent / self.duration_s:.0f} messages/s",
                "after the first quarter and at the end:",
                *(f"  {stock}" for stock in self.stocks),
                *(_shown(fault.index, fault.text) for fault in tally.faults),
                *((f"the daemon's log:\n{self.log}",) if tally.faults else ()),
            )
        )


class _Lost(Exception):
    """A daemon that is gone, or does not come to rest."""


def run_campaign(seed: int, messages: int) -> Report:
    """Send messages to a daemon of its own.

    Args:
        seed: Decides what they are.
        messages: How many.
    """
    with daemon_process() as daemon:
        return asyncio.run(_run(daemon, seed, messages))


def run_only(seed: int, index: int) -> Tally:
    """Make one call on a daemon of its own."""

    async def make_it(daemon: DaemonProcess) -> Tally:
        async with _driver(daemon, seed) as driver:
            await driver.make(index)
            await driver.probe()
        return driver.tally

    with daemon_process() as daemon:
        tally = asyncio.run(make_it(daemon))
        _check_end(daemon, tally)
        return tally


@asynccontextmanager
async def _driver(daemon: DaemonProcess, seed: int) -> AsyncIterator[Driver]:
    """Make a driver with connections to a daemon, and memory to share with it."""
    key = f"tsnd-fuzz-{os.getpid():07}"
    methods = await asyncio.to_thread(discover, daemon.grpc)
    with sealed_region(key) as descriptor:
        scene = Scene(methods, key, process_id=os.getpid(), descriptor=descriptor)
        driver = Driver(daemon.grpc, scene, seed)
        with shared_region(scene.region_key), shared_region(scene.written_key):
            async with driver.connected():
                yield driver


async def _run(daemon: DaemonProcess, seed: int, messages: int) -> Report:
    begin_s, stocks = time.monotonic(), list[Stock]()
    async with _driver(daemon, seed) as driver:
        tally = driver.tally
        try:
            await driver.run(int(messages * WARM_UP_SHARE))
            stocks.append(await _take_stock(daemon, driver))
            await driver.run(messages)
            await driver.probe()
            stocks.append(await _take_stock(daemon, driver))
        except _Lost as err:
            tally.blame(None, str(err))
    duration_s = time.monotonic() - begin_s
    methods = {method.path.rpartition("/")[2] for method in driver.scene.methods}
    for text in _leaks(stocks, methods):
        tally.blame(None, text)
    if tally.answered != tally.sent:
        tally.blame(None, f"{tally.sent} messages have {tally.answered} answers")
    _check_end(daemon, tally)
    return Report(tally, duration_s, stocks, _end_of(daemon))


async def _take_stock(daemon: DaemonProcess, driver: Driver) -> Stock:
    """Wait until the daemon has nothing to do, and look at what it holds; raises _Lost."""
    try:
        async with asyncio.timeout(_SETTLED_S):
            await _take_back(driver)
            while True:
                samples = await asyncio.to_thread(_scrape, daemon.metrics)
                await asyncio.sleep(_PAUSE_S)  # the connection for that is closed meanwhile
                stock = Stock(daemon.holdings(), samples)
                if not stock.value("tsnd_streams") and not stock.value("tsnd_pending_snippets"):
                    return stock
    except (TimeoutError, OSError) as err:
        raise _Lost(f"the daemon is gone, or does not come to rest: {err!r}") from err


async def _take_back(driver: Driver) -> None:
    """Undo what calls may have asked the daemon to hold: a model, and memory by its name."""
    unload = control_pb2.UnloadModelRequest(name=SPARE).SerializeToString()
    for path, request in ((UNLOAD, unload), (f"{KSERVE}/SystemSharedMemoryUnregister", b"")):
        with suppress(aio.AioRpcError):  # there may be nothing to undo
            await driver.unary(path, request)


def _scrape(url: str) -> tuple[Sample, ...]:
    with urlopen(url) as response:
        text = response.read().decode()
    return tuple(s for family in text_string_to_metric_families(text) for s in family.samples)


def _leaks(stocks: Sequence[Stock], methods: set[str]) -> Iterator[str]:
    """Say what is held that was not held before, and which labels nobody chose."""
    if len(stocks) < 2:
        return
    warm, end = stocks
    grown_kib = end.held.rss_kib - warm.held.rss_kib
    if grown_kib > MOST_RSS_KIB:
        yield f"memory has grown by {grown_kib} KiB, of at most {MOST_RSS_KIB}"
    if opened := end.held.files - warm.held.files:
        yield f"files are open that were not after the first quarter: {dict(opened)}"
    if end.held.threads > warm.held.threads + _MOST_THREADS:
        yield f"{end.held.threads} threads, {warm.held.threads} after the first quarter"
    allowed = {**_LABELS, "method": methods}
    for sample in end.samples:
        for name, value in sample.labels.items():
            if name not in _NUMBERS and value not in allowed.get(name, set()):
                yield f"metric {sample.name} has {name}={value!r}"


def _check_end(daemon: DaemonProcess, tally: Tally) -> None:
    """The daemon is still there, stops when it is told to, and has nothing to say."""
    if not daemon.is_alive:
        tally.blame(None, f"the daemon has ended with {daemon.process.returncode}")
    elif (status := daemon.stop()) != 0:
        tally.blame(None, f"the daemon ends with {status} after SIGTERM")
    if "Traceback" in daemon.log.read_text(errors="replace"):
        tally.blame(None, "the daemon's log has a traceback")


def _end_of(daemon: DaemonProcess) -> str:
    lines = daemon.log.read_text(errors="replace").splitlines()
    first = next((at for at, line in enumerate(lines) if "Traceback" in line), len(lines))
    return "\n".join((*lines[max(0, first - 1) : first + _LOG_LINES], "...", *lines[-5:]))


def _shown(index: int | None, text: str) -> str:
    return f"FAULT: {text}" if index is None else f"FAULT in call {index} (--only {index}): {text}"
