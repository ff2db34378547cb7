"""Streams whose answers can be told apart, and what has to hold of them at the end."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.request import urlopen

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.daemons import RunningDaemon
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_client import (
    AsyncClient,
    ClientError,
    SnippetRejected,
    SnippetScores,
    StreamResult,
)
from tsnd_client.in_flight import NamedPixels
from tsnd_daemon.executors.synthetic import SyntheticExecutor

SHAPE = (16, 21, 3)
SETTLED_S = 10.0

Source = Iterable[NamedPixels] | AsyncIterable[NamedPixels]


def marks(stream: int, index: int) -> list[int]:
    """Three bytes that tell a frame from the others."""
    return [stream, index >> 8 & 255, index & 255]


def frame(stream: int, index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame whose first bytes, which SyntheticExecutor returns as scores, say which it is."""
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[0, 0] = marks(stream, index)
    return pixels


def frames(stream: int, number: int) -> Iterator[NamedPixels]:
    for index in range(number):
        yield f"{stream}/{index}", frame(stream, index)


def endless(stream: int, over: asyncio.Event) -> Iterator[NamedPixels]:
    """Frames until an event."""
    for index in count():
        if over.is_set():
            return
        yield f"{stream}/{index}", frame(stream, index)


async def paused(
    snippets: Iterable[NamedPixels], after: int, go_on: asyncio.Event
) -> AsyncIterator[NamedPixels]:
    """The same snippets, with a break after some until an event."""
    for number, snippet in enumerate(snippets):
        if number == after:
            await go_on.wait()
        yield snippet


def request(
    snippet_id: str, *, model: str = "tiny_rgb", **changes: Any
) -> snippets_pb2.ScoreRequest:
    """A request with one black frame."""
    snippet = snippets_pb2.Snippet(
        id=snippet_id, modality=model_pb2.MODALITY_RGB, shape=SHAPE, raw=bytes(16 * 21 * 3)
    )
    return snippets_pb2.ScoreRequest(model=model, snippets=[snippet], **changes)


@dataclass
class Outcome:
    """What a stream was answered, in order, and how it ended; None is well."""

    results: list[StreamResult] = field(default_factory=list)
    end: ClientError | None = None

    @property
    def scored(self) -> list[SnippetScores]:
        return [result for result in self.results if isinstance(result, SnippetScores)]

    @property
    def rejected(self) -> list[SnippetRejected]:
        return [result for result in self.results if isinstance(result, SnippetRejected)]

    def assert_accounts_for(self, stream: int, number: int) -> None:
        """Each snippet is answered once, in order, with its own scores; or the stream ended."""
        ids = [result.snippet_id for result in self.results]
        assert ids == [f"{stream}/{index}" for index in range(len(ids))]
        for scores in self.scored:
            index = int(scores.snippet_id.partition("/")[2])
            assert list(scores.scores[:3]) == marks(stream, index)
        assert len(ids) == number or self.end is not None, "a stream that ends well is complete"


async def run_stream(
    target: str,
    source: Source,
    *,
    model: str = "tiny_rgb",
    max_in_flight: int = 32,
    outcome: Outcome | None = None,
    **options: Any,
) -> Outcome:
    """Send a stream with a client of its own; its end is part of the outcome.

    Args:
        target: The daemon.
        source: The snippets.
        model: By what name it is asked for.
        max_in_flight: Of the client.
        outcome: Filled while results come, for those who watch; None makes one.
        options: Of `score_stream`.
    """
    outcome = outcome or Outcome()
    async with AsyncClient(target, max_in_flight=max_in_flight) as client:
        try:
            info = await client.model(model)
            async for result in client.score_stream(info, source, **options):
                outcome.results.append(result)
        except ClientError as err:
            outcome.end = err
    return outcome


def samples(url: str) -> dict[tuple[str, ...], float]:
    """What Prometheus would read, by name and label values."""
    with urlopen(url) as response:
        text = response.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def wait_for_samples(daemon: RunningDaemon, expected: Mapping[Any, float]) -> None:
    """Read the metrics until they are as expected, or fail after some seconds."""
    seen: dict[tuple[str, ...], float] = {}
    try:
        async with asyncio.timeout(SETTLED_S):
            while any(seen.get(key) != value for key, value in expected.items()):
                seen = await asyncio.to_thread(samples, daemon.endpoints.metrics)
    except TimeoutError:
        found = {key: seen.get(key) for key in expected}
        raise AssertionError(f"expected {expected}, and it is {found}") from None


async def assert_nothing_is_left(daemon: RunningDaemon) -> None:
    """No snippet waits and no stream is open, soon."""
    await wait_for_samples(
        daemon,
        {
            ("tsnd_streams",): 0,
            ("tsnd_pending_snippets", "tiny_rgb", "1"): 0,
            ("tsnd_pending_snippets", "tiny_flow", "1"): 0,
        },
    )


class Recorder(SyntheticExecutor):
    """Remembers the snippets of each batch, all models together; not those of the warm-up."""

    def __init__(self, model: Any, batches: list[list[str]], **options: Any) -> None:
        super().__init__(model, **options)
        self.batches = batches

    def start(self, slot: int, snippets: Any) -> None:
        ids = [snippet.id for snippet in snippets]
        if ids[0] != "warm-up":
            self.note(ids)
        super().start(slot, snippets)

    def note(self, ids: list[str]) -> None:
        """See a batch before it runs."""
        self.batches.append(ids)


def has_pending(url: str) -> bool:
    """Scrape the metrics until the daemon holds a snippet."""
    return any(samples(url).get(("tsnd_pending_snippets", "tiny_rgb", "1")) for _ in range(200))
