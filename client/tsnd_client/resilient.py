"""Streams that outlive the daemon's lack of room, its restart and broken connections.

A stream of `score_stream` ends at the first trouble; here the next one is opened after a wait
and goes on where the answers ended. Results come in the order of the input, one per snippet,
and what is kept for that is bounded by `max_in_flight`. A snippet may be scored twice, when its
answer was lost on the way; it is never answered twice.
"""

import asyncio
import logging
import random
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import aclosing, closing

import grpc
import numpy as np

from tsnd_client.client import AsyncClient, Client
from tsnd_client.errors import (
    ClientError,
    DaemonUnavailable,
    FrameMismatch,
    RetriesExhausted,
    SnippetRejected,
    StreamInterrupted,
)
from tsnd_client.in_flight import NamedPixels, each_of
from tsnd_client.messages import StreamResult
from tsnd_client.model_info import ModelInfo
from tsnd_client.reply import EVERYTHING, Reply
from tsnd_client.retrying import Retrying, Window
from tsnd_client.unanswered import Unanswered
from tsnd_client.urgency import Priority

logger = logging.getLogger(__name__)

RETRYING = Retrying()

# Ends of a stream after which another one may do better. A daemon that ends a stream with OK
# before it has answered all has no reason that would still be there.
_PASSING = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK}
)

OnWait = Callable[[ClientError, float], object]


def score_resiliently(
    client: Client,
    model: ModelInfo,
    snippets: Iterable[NamedPixels],
    *,
    group_size: int | None = None,
    priority: Priority = Priority.NORMAL,
    timeout_s: float | None = None,
    reply: Reply = EVERYTHING,
    retrying: Retrying = RETRYING,
    on_wait: OnWait | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
    sleep: Callable[[float], object] = time.sleep,
) -> Generator[StreamResult, None, None]:
    """Score the snippets of one stream, in order, whatever becomes of the daemon meanwhile.

    A snippet for which the daemon has no room, or that was not answered when the stream broke
    (UNAVAILABLE), is sent again: after the wait that the daemon asked for, or else after one
    that doubles with every failure. Lack of room also halves how many snippets are in flight;
    answers let them become more again, up to the client's `max_in_flight`. What has no place in
    that is given out as `Client.score_stream` does it.

    Args:
        client: The daemon's client.
        model: The model to score them with.
        snippets: Pairs of snippet id and pixels, as `Client.score_stream` takes them. They are
            pulled once, whatever is sent again.
        group_size: Snippets in one message, see `Client.score_stream`.
        priority: Which snippets the daemon runs first.
        timeout_s: Longest each snippet may wait in the daemon's queue, seconds.
        reply: What results hold.
        retrying: How long to go on.
        on_wait: Called with the reason and the seconds before each wait.
        clock_s: A monotonic clock, seconds.
        draw: Gives random numbers in [0, 1).
        sleep: Waits so many seconds.

    Yields:
        One result per snippet, in the order of the input: its scores, or a `SnippetRejected`.
        One that there was no room for within `retrying.patience_s` is rejected.

    Raises:
        RetriesExhausted: No daemon answered anything for `retrying.patience_s`.
        StreamInterrupted: The daemon ended a stream for a reason that stays.
        Exception: As of `Client.score_stream`.
    """
    course = _Course(client.max_in_flight, retrying, on_wait or _log, clock_s, draw)
    each = iter(snippets)

    def pulled() -> Iterator[NamedPixels]:
        while course.goes_on:
            again = course.unanswered.send_again()
            if again is not None:
                yield again
            elif not course.takes_new:
                return
            else:
                try:
                    new = next(each)
                except StopIteration:
                    course.end_input()
                except Exception as err:  # noqa: BLE001 -- raised when all before is answered
                    course.end_input(err)
                else:
                    yield course.send(new)

    while not course.is_over:
        limit = course.begin_stream()
        stream = client.score_stream(
            model,
            pulled(),
            group_size=_bound_group(group_size, limit),
            max_in_flight=limit,
            priority=priority,
            timeout_s=timeout_s,
            reply=reply,
        )
        try:
            with closing(stream):
                for result in stream:
                    yield from course.settle(result)
        except (DaemonUnavailable, StreamInterrupted, FrameMismatch) as err:
            course.note_end(err)
        if wait_s := course.end_stream():
            sleep(wait_s)


async def score_resiliently_async(
    client: AsyncClient,
    model: ModelInfo,
    snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels],
    *,
    priority: Priority = Priority.NORMAL,
    timeout_s: float | None = None,
    reply: Reply = EVERYTHING,
    retrying: Retrying = RETRYING,
    on_wait: OnWait | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[StreamResult, None]:
    """Do on asyncio what `score_resiliently` does; arguments, results and errors are the same.

    Snippets travel together as they come, see `AsyncClient.score_stream`.
    """
    course = _Course(client.max_in_flight, retrying, on_wait or _log, clock_s, draw)

    async def pulled(source: "_Source") -> AsyncGenerator[NamedPixels, None]:
        while course.goes_on:
            again = course.unanswered.send_again()
            if again is not None:
                yield again
            elif not course.takes_new:
                return
            else:
                try:
                    new = await source.next()
                except StopAsyncIteration:
                    course.end_input()
                except Exception as err:  # noqa: BLE001 -- raised when all before is answered
                    course.end_input(err)
                else:
                    yield course.send(new)

    async with aclosing(_Source(snippets)) as source:
        while not course.is_over:
            limit = course.begin_stream()
            stream = client.score_stream(
                model,
                pulled(source),
                max_in_flight=limit,
                priority=priority,
                timeout_s=timeout_s,
                reply=reply,
            )
            try:
                async with aclosing(stream):
                    async for result in stream:
                        for ready in course.settle(result):
                            yield ready
            except (DaemonUnavailable, StreamInterrupted, FrameMismatch) as err:
                course.note_end(err)
            if wait_s := course.end_stream():
                await sleep(wait_s)


class _Course:
    """What becomes of one input over the streams that score it; waits for nothing itself."""

    def __init__(
        self,
        most_in_flight: int,
        retrying: Retrying,
        on_wait: OnWait,
        clock_s: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.unanswered = Unanswered(most_in_flight)
        self._window = Window(most_in_flight, most_in_flight)
        self._retrying = retrying
        self._on_wait = on_wait
        self._clock_s = clock_s
        self._draw = draw
        self._input_ended = False
        self._input_error: Exception | None = None
        # Of this stream: its window, why it is to end, what the daemon asked to wait.
        self._limit = most_in_flight
        self._trouble: ClientError | None = None
        self._asked_s: float | None = None
        # Since the last answer: failed tries, and when the first of them failed.
        self._failures = 0
        self._failing_since_s: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether every result has been given out.

        Raises:
            Exception: What the input raised, in its place behind all results.
        """
        if not self._input_ended or self.unanswered:
            return False
        if self._input_error is not None:
            raise self._input_error
        return True

    @property
    def goes_on(self) -> bool:
        """Whether this stream takes another snippet."""
        return self._trouble is None and not self._window.has_outgrown(self._limit)

    @property
    def takes_new(self) -> bool:
        """Whether there is another snippet to pull, and a place for it."""
        return not self._input_ended and not self.unanswered.is_full

    def begin_stream(self) -> int:
        """Begin the next stream; returns how many snippets may be in flight on it."""
        self._limit = self._window.limit
        self._trouble = self._asked_s = None
        return self._limit

    def send(self, snippet: NamedPixels) -> NamedPixels:
        """Note a new snippet, with pixels that stay as they are."""
        snippet_id, pixels = snippet
        if isinstance(pixels, np.ndarray) and pixels.flags.writeable:
            pixels = pixels.copy()  # whoever gave it may write the next frame there
        self.unanswered.send((snippet_id, pixels))
        return snippet_id, pixels

    def end_input(self, error: Exception | None = None) -> None:
        """Note that nothing new comes, and what the input raised, if it did."""
        self._input_ended, self._input_error = True, error

    def settle(self, result: StreamResult) -> Iterator[StreamResult]:
        """Note a result of this stream; yields those whose turn it is."""
        if not isinstance(result, SnippetRejected) or not _is_passing(result):
            self._failures, self._failing_since_s = 0, None
            if self._trouble is None:
                self._window = self._window.grown()
            yield from self.unanswered.answer(result)
        elif self._has_patience():
            self._refuse(result)
        else:
            yield from self.unanswered.answer(result)

    def note_end(self, err: ClientError) -> None:
        """Judge what ended this stream.

        Raises:
            StreamInterrupted: Trying again is no use.
        """
        if isinstance(err, FrameMismatch):  # the newest snippet's; it was not sent
            self.unanswered.withdraw_newest()
            self.end_input(err)
        elif isinstance(err, StreamInterrupted) and err.code not in _PASSING:
            raise err
        else:
            if isinstance(err, StreamInterrupted) and _is_lack_of_room(err.code):
                self._window = self._window.halved()
            self._trouble = err

    def end_stream(self) -> float:
        """End this stream; returns how long to wait before the next one, seconds.

        Raises:
            RetriesExhausted: There is to be no next one.
        """
        self.unanswered.end_stream()
        if self._trouble is None:
            return 0.0
        if not isinstance(self._trouble, SnippetRejected) and not self._has_patience():
            patience_s = self._retrying.patience_s
            raise RetriesExhausted(patience_s, str(self._trouble)) from self._trouble
        self._failures += 1
        wait_s = self._retrying.wait_s(self._failures, asked_s=self._asked_s, draw=self._draw())
        self._on_wait(self._trouble, wait_s)
        return wait_s

    def _refuse(self, rejection: SnippetRejected) -> None:
        """Have a snippet sent again; more of them on one stream are one lack of room."""
        if self._trouble is None:
            self._trouble = rejection
            if _is_lack_of_room(rejection.code):
                self._window = self._window.halved()
        if rejection.retry_after_s is not None:
            self._asked_s = max(self._asked_s or 0.0, rejection.retry_after_s)
        self.unanswered.refuse()

    def _has_patience(self) -> bool:
        now_s = self._clock_s()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        return now_s - self._failing_since_s < self._retrying.patience_s


class _Source:
    """The input of the asyncio variant; a stream that ends does not end it in mid-snippet."""

    def __init__(self, snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels]) -> None:
        self._each = each_of(snippets)
        self._next: asyncio.Task[NamedPixels] | None = None

    async def next(self) -> NamedPixels:
        """Pull a snippet; when that is cancelled, the next call gets the one it was about."""
        if self._next is None:
            self._next = asyncio.create_task(anext(self._each))
        snippet = await asyncio.shield(self._next)
        self._next = None
        return snippet

    async def aclose(self) -> None:
        """Give up what is being pulled."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._each.aclose()


def _bound_group(group_size: int | None, limit: int) -> int | None:
    """Let one group travel while another is scored, however small the window has become."""
    return group_size and min(group_size, max(1, limit // 2))


def _is_lack_of_room(code: grpc.StatusCode) -> bool:
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED


def _is_passing(rejection: SnippetRejected) -> bool:
    """Say whether the same snippet may do better later."""
    return rejection.retry_after_s is not None or rejection.code is grpc.StatusCode.UNAVAILABLE


def _log(reason: ClientError, wait_s: float) -> None:
    logger.info("%s Trying again in %.2g s.", reason, wait_s)
