"""A daemon of its own under steady traffic and steady trouble, watched for what it piles up.

Three streams go on at a modest pace from beginning to end. Beside them clients come, hang up
in the middle, send nonsense and ask for what there is not; a model is replaced again and
again. Every snippet is accounted for, and what the process holds has to stay level.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from grpc import aio

from tests.fuzz.daemon import DaemonProcess, Holdings, daemon_process
from tests.fuzz.scene import RGB_SHAPE
from tests.soak.versions import Versions
from tests.streams import Outcome, marks
from tsnd_client import AsyncClient, ClientError, SnippetRejected
from tsnd_client.in_flight import NamedPixels

DEFAULT_S = 600.0
MOST_GROWTH, MOST_SHORT_GROWTH, SHORT_S = 0.02, 0.10, 120.0
"""Of memory, from the highest of the first fifth of the time after the warm-up to the lowest of the
last: the allocator alone lets it swing by 2 MiB, to and fro, and a leak leaves that band. In a
short run the daemon is hardly warm, and so much is what one that loses all messages would exceed
soon."""
_STREAMS, _PACE_S = 3, 0.025
_WARM_UP_SHARE, _LONGEST_WARM_UP_S = 0.3, 120.0
_MODEL, _METHOD = "tiny_rgb", "/tsnd.v1.SnippetService/"


@dataclass
class Report:
    """What came of it.

    Attributes:
        duration_s: How long it took.
        sent: Snippets of all clients that stayed to the end.
        answered: Those that were scored.
        refused: Those that were answered with a code.
        trouble: How often each kind of it was made.
        held: What the process held, each second after the warm-up.
        faults: What is wrong.
    """

    duration_s: float
    sent: int = 0
    answered: int = 0
    refused: int = 0
    trouble: dict[str, int] = field(default_factory=dict)
    held: list[Holdings] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def rss_mib(self) -> tuple[list[float], list[float]]:
        """Memory in the first and in the last fifth after the warm-up."""
        fifth = max(1, len(self.held) // 5)
        memory = [held.rss_kib / 1024 for held in self.held]
        return memory[:fifth], memory[-fifth:]

    @property
    def growth(self) -> float:
        """Of memory, relative: by how much it has left the band that it was in."""
        first, last = self.rss_mib
        return min(last) / max(first) - 1

    def __str__(self) -> str:
        """Write it on one line."""
        trouble = ", ".join(f"{count} {kind}" for kind, count in sorted(self.trouble.items()))
        first, last = self.rss_mib
        held = self.held[-1]
        return (
            f"soak of {self.duration_s:.0f} s: {self.sent} snippets sent = {self.answered} answered"
            f" + {self.refused} refused; {trouble}; memory at first {min(first):.1f} to "
            f"{max(first):.1f} MiB, at last {min(last):.1f} to {max(last):.1f} ({self.growth:+.2%})"
            f", {held.files.total()} files, {held.threads} threads; {len(self.faults)} faults"
        )


def soak(duration_s: float) -> Report:
    """Soak a daemon for some seconds; see Report."""
    with daemon_process() as daemon:
        report = asyncio.run(_Soak(daemon, duration_s).run())
        status, log = daemon.stop(), daemon.log.read_text()
        if status != 0:
            report.faults.append(f"the daemon ended with status {status}")
        if "Traceback" in log:
            report.faults.append(
                f"a traceback in the log: ...{log[log.index('Traceback') :][:400]}"
            )
    return report


class _Soak:
    def __init__(self, daemon: DaemonProcess, duration_s: float) -> None:
        self._daemon = daemon
        self._report = Report(duration_s)
        self._end_s = time.monotonic() + duration_s
        self._warm_s = time.monotonic() + min(_LONGEST_WARM_UP_S, _WARM_UP_SHARE * duration_s)
        self._random = random.Random(8)
        self._versions = Versions(daemon.log.parent / "models", _MODEL)

    async def run(self) -> Report:
        """Do it all, and take stock at the end."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(_STREAMS):
                tasks.create_task(self._steady(number))
            tasks.create_task(self._watch())
            tasks.create_task(self._again(1.0, "reloads", self._reload))
            tasks.create_task(self._again(0.7, "hang-ups", self._hang_up))
            tasks.create_task(self._again(0.5, "broken messages", self._nonsense))
            tasks.create_task(self._again(0.9, "refusals asked for", self._refused))
        self._judge()
        return self._report

    def _judge(self) -> None:
        report = self._report
        if report.sent != report.answered + report.refused:
            report.faults.append("sent is not answered + refused")
        if report.growth > (MOST_GROWTH if report.duration_s > SHORT_S else MOST_SHORT_GROWTH):
            report.faults.append(f"memory has grown by {report.growth:.2%}")
        first, last = report.held[0], report.held[-1]
        if last.threads > first.threads + 4:  # gRPC starts and ends threads as it likes
            report.faults.append(f"threads went from {first.threads} to {last.threads}")
        if last.files.total() > first.files.total() + 10:  # connections come and go
            report.faults.append(f"open files went from {first.files} to {last.files}")

    async def _steady(self, number: int) -> None:
        """A stream that stays: complete, in order, each with its own scores."""
        outcome = await self._stream(number, self._paced(number))
        self._note(number, outcome)

    async def _stream(self, number: int, source: AsyncIterator[NamedPixels]) -> "_Counted":
        counted = _Counted(source)
        async with AsyncClient(self._daemon.grpc, shared_memory=number % 2 == 0) as client:
            model = await client.model(_MODEL)
            try:
                async for result in client.score_stream(model, counted):
                    counted.outcome.results.append(result)
            except ClientError as err:
                counted.outcome.end = err
        return counted

    def _note(self, number: int, counted: "_Counted") -> None:
        outcome, sent, report = counted.outcome, counted.sent, self._report
        report.sent += sent
        report.answered += len(outcome.scored)
        report.refused += len(outcome.rejected)
        try:
            assert outcome.end is None, outcome.end
            outcome.assert_accounts_for(number, sent)
        except AssertionError as err:
            report.faults.append(f"stream {number}: {err}")

    async def _paced(self, number: int) -> AsyncIterator[NamedPixels]:
        index = 0
        while time.monotonic() < self._end_s:
            yield f"{number}/{index}", _frame(number, index)
            index += 1
            await asyncio.sleep(_PACE_S)

    async def _watch(self) -> None:
        """Look each second at what the process holds, once it is warm."""
        while time.monotonic() < self._end_s:
            if time.monotonic() >= self._warm_s:
                self._report.held.append(self._daemon.holdings())
            await asyncio.sleep(1.0)

    async def _again(
        self, every_s: float, kind: str, trouble: Callable[[], Awaitable[None]]
    ) -> None:
        """Make some kind of trouble again and again."""
        while time.monotonic() + every_s < self._end_s:
            await asyncio.sleep(every_s)
            try:
                await trouble()
            except (AssertionError, ClientError, aio.AioRpcError) as err:
                self._report.faults.append(f"{kind}: {err!r}")
            self._report.trouble[kind] = self._report.trouble.get(kind, 0) + 1

    async def _reload(self) -> None:
        """Replace the model that the streams use."""
        version = await asyncio.to_thread(self._versions.publish_next)
        async with aio.insecure_channel(self._daemon.grpc) as channel:
            served = await self._versions.load(channel)
        assert served == [version], served

    async def _hang_up(self) -> None:
        """Leave in the middle of a stream."""
        async with AsyncClient(self._daemon.grpc) as client:
            model = await client.model(_MODEL)
            results = client.score_stream(model, _endless())
            for _ in range(self._random.randrange(1, 20)):
                await anext(results)
            await results.aclose()

    async def _nonsense(self) -> None:
        """Send what does not parse; the answer is a status."""
        async with aio.insecure_channel(self._daemon.grpc) as channel:
            body = self._random.randbytes(self._random.randrange(1, 2000))
            call: Any = channel.unary_unary(_METHOD + "Score")
            code = "OK"
            try:
                await call(body, timeout=10)
            except aio.AioRpcError as err:
                code = err.code().name
        assert code in ("INVALID_ARGUMENT", "NOT_FOUND"), code

    async def _refused(self) -> None:
        """Send, one by one, snippets that cannot be scored in time: each is answered so."""
        async with AsyncClient(self._daemon.grpc) as client:
            model = await client.model(_MODEL)
            results = [
                r
                async for r in client.score_stream(
                    model, [(f"9/{i}", _frame(9, i)) for i in range(8)], timeout_s=0.000001
                )
            ]
        self._report.sent += 8
        self._report.refused += sum(isinstance(r, SnippetRejected) for r in results)
        self._report.answered += sum(not isinstance(r, SnippetRejected) for r in results)
        assert [r.snippet_id for r in results] == [f"9/{i}" for i in range(8)], results


class _Counted:
    """A source that knows how much was taken of it, and what came of that."""

    def __init__(self, source: AsyncIterator[NamedPixels]) -> None:
        self.sent = 0
        self.outcome = Outcome()
        self._source = source

    async def __aiter__(self) -> AsyncIterator[NamedPixels]:
        async for snippet in self._source:
            self.sent += 1
            yield snippet


def _frame(stream: int, index: int) -> npt.NDArray[np.uint8]:
    pixels = np.zeros(RGB_SHAPE, np.uint8)
    pixels.reshape(-1)[:3] = marks(stream, index)
    return pixels


async def _endless() -> AsyncIterator[NamedPixels]:
    index = 0
    while True:
        yield f"doomed/{index}", _frame(8, index)
        index += 1
        await asyncio.sleep(0)
