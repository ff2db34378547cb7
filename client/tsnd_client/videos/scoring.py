"""Many videos at once through one stream per modality, so that the daemon's batches are full.

Reader threads take videos in turn, decode them and put snippets into a bounded channel per
modality; a thread per modality streams what is in its channel. The caller's thread gathers the
answers. Memory is bounded by the readers, the channels and the snippets in flight; of the
videos themselves only results are kept, until each is complete.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tsnd_client.errors import ClientError, SnippetRejected, VideoError
from tsnd_client.in_flight import NamedPixels
from tsnd_client.messages import SnippetScores, StreamResult
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.videos.channel import Channel
from tsnd_client.videos.crew import Crew
from tsnd_client.videos.snippet import (
    FailedVideo,
    Outcome,
    Reading,
    ScoredVideo,
    Snippet,
    StreamOutputs,
    VideoJob,
)

Pause = Callable[[float], None]
"""Waits so many seconds; raises when the work is over meanwhile, which ends a stream."""

Stream = Callable[[ModelInfo, Iterable[NamedPixels], Pause], Iterator[StreamResult]]
"""Scores the snippets of one stream, in order; between retries it pauses."""

DEFAULT_READERS = 2
DEFAULT_SNIPPETS_AHEAD = 16

# Answers waiting to be gathered. They are small; a caller who is slow in taking outcomes
# slows the streams, and these the readers.
_ANSWERS_AHEAD = 256

T = TypeVar("T")


def score_videos(
    stream: Stream,
    models: Mapping[Modality, ModelInfo],
    jobs: Iterable[VideoJob],
    *,
    readers: int = DEFAULT_READERS,
    snippets_ahead: int = DEFAULT_SNIPPETS_AHEAD,
    cancel: Callable[[], object] = lambda: None,
) -> Generator[Outcome, None, None]:
    """Score videos; a video that fails costs the others nothing.

    Args:
        stream: Scores one modality's snippets; called once for each model, in a thread.
        models: By modality, what scores its snippets. Videos give no others.
        jobs: The videos, pulled in the readers' threads, one thread at a time.
        readers: Videos that are read at the same time.
        snippets_ahead: Most snippets of each modality that are read and not yet sent.
        cancel: Ends the streams at once, such as `Client.close`; called when the caller leaves
            early or the work fails, so that nobody waits for a daemon that hangs.

    Yields:
        One outcome per video, as soon as it is known; so not in the order of the jobs.

    Raises:
        ClientError: A stream ended, as with a daemon that is gone: what `stream` raised.
    """
    work = _Work(stream, models, jobs, readers, snippets_ahead)
    work.crew.start([work.read] * readers + [partial(work.score, modality) for modality in models])
    try:
        yield from _outcomes(work)
    except BaseException:
        cancel()
        raise
    finally:
        work.abandon()


def in_order(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Give outcomes in the order of their jobs; those that are early wait."""
    early: dict[int, Outcome] = {}
    place = 0
    for outcome in outcomes:
        early[outcome.place] = outcome
        while place in early:
            yield early.pop(place)
            place += 1


@dataclass(frozen=True, slots=True)
class _Opened:
    """A video whose snippets are about to come."""

    video: int
    job: VideoJob
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Answered:
    """One snippet's result."""

    video: int
    modality: Modality
    tick: int
    result: StreamResult


@dataclass(frozen=True, slots=True)
class _Broken:
    """A video that cannot be read, or not to its end."""

    video: int
    job: VideoJob
    error: ClientError
    was_opened: bool


_Event = _Opened | _Answered | _Broken


class _Work:
    """What the threads share, and what they do."""

    def __init__(
        self,
        stream: Stream,
        models: Mapping[Modality, ModelInfo],
        jobs: Iterable[VideoJob],
        readers: int,
        snippets_ahead: int,
    ) -> None:
        self.crew = Crew[_Event](_ANSWERS_AHEAD)
        self._stream = stream
        self._models = models
        self._jobs = enumerate(jobs)
        self._lock = threading.Lock()
        self._reading = readers
        self._given_up: set[int] = set()
        self._snippets = {
            modality: Channel[tuple[int, Snippet]](snippets_ahead) for modality in models
        }

    def give_up(self, video: int) -> None:
        """Have no more of a video read."""
        self._given_up.add(video)

    def abandon(self) -> None:
        """Have all threads end, and wait for that."""
        for channel in self._snippets.values():
            channel.abandon()
        self.crew.dismiss()

    def read(self) -> None:
        """Read videos until there are none; a reader thread's whole life."""
        try:
            while (numbered := self._next_job()) is not None:
                self._read_video(*numbered)
        finally:
            with self._lock:
                self._reading -= 1
                is_last = not self._reading
            if is_last:
                for channel in self._snippets.values():
                    channel.end()

    def score(self, modality: Modality) -> None:
        """Score one modality's snippets; a stream thread's whole life."""
        sent = self._snippets[modality]
        try:
            snippets = map(_to_named_pixels, sent)
            results = self._stream(self._models[modality], snippets, self.crew.pause)
            with closing(_as_generator(results)) as answers:
                for result in answers:
                    video, tick = _from_name(result.snippet_id)
                    self.crew.report(_Answered(video, modality, tick, result))
        finally:
            sent.abandon()

    def _next_job(self) -> tuple[int, VideoJob] | None:
        with self._lock:
            return next(self._jobs, None)

    def _read_video(self, video: int, job: VideoJob) -> None:
        was_opened = False
        try:
            reading = job.open()
            was_opened = True
            with closing(_as_generator(reading.snippets)) as snippets:
                self.crew.report(_Opened(video, job, reading))
                given = self._put_all(video, snippets)
            wanted = reading.wanted
            if given < wanted and video not in self._given_up:
                raise VideoError(
                    f"{job.name} gave {given} of {wanted} snippets: it ends early. "
                    "Copy or record it again."
                )
        except ClientError as err:
            self.crew.report(_Broken(video, job, err, was_opened))
        except OSError as err:
            problem = VideoError(f"{job.name} cannot be read: {err.strerror or err}.")
            self.crew.report(_Broken(video, job, problem, was_opened))

    def _put_all(self, video: int, snippets: Iterable[Snippet]) -> int:
        given = 0
        for snippet in snippets:
            if video in self._given_up:
                break
            self._snippets[snippet.modality].put((video, snippet))
            given += 1
        return given


@dataclass(slots=True)
class _Pending:
    """A video that is being scored."""

    job: VideoJob
    reading: Reading
    wanted: int
    answers: dict[tuple[Modality, int], SnippetScores] = field(default_factory=dict)


def _outcomes(work: _Work) -> Iterator[Outcome]:
    pending: dict[int, _Pending] = {}
    for event in work.crew.reports():
        match event:
            case _Opened(video, job, reading):
                pending[video] = _Pending(job, reading, reading.wanted)
            case _Broken(video, job, error, was_opened):
                # One that was opened and is not pending has its outcome already.
                if pending.pop(video, None) or not was_opened:
                    yield FailedVideo(video, job.name, error)
            case _Answered(video, modality, tick, result) if video in pending:
                if isinstance(result, SnippetRejected):
                    work.give_up(video)
                    yield FailedVideo(video, pending.pop(video).job.name, result)
                    continue
                entry = pending[video]
                entry.answers[modality, tick] = result
                if len(entry.answers) == entry.wanted:
                    yield _to_scored_video(video, pending.pop(video))


def _to_scored_video(place: int, pending: _Pending) -> ScoredVideo:
    reading = pending.reading
    return ScoredVideo(
        place=place,
        name=pending.job.name,
        images=reading.images,
        frames_per_s=reading.frames_per_s,
        streams={
            modality: _to_outputs(ticks, [pending.answers[modality, tick] for tick in ticks])
            for modality, ticks in reading.ticks.items()
            if ticks
        },
    )


def _to_outputs(ticks: Sequence[int], answers: Sequence[SnippetScores]) -> StreamOutputs:
    return StreamOutputs(
        ticks=np.array(ticks, np.int64),
        outputs={name: _stacked(answers, name) for name in answers[0].outputs},
        versions=tuple(sorted({answer.version for answer in answers})),
    )


def _stacked(answers: Sequence[SnippetScores], name: str) -> npt.NDArray[np.float32]:
    return np.stack([np.asarray(answer.outputs[name], np.float32) for answer in answers])


def _to_named_pixels(item: tuple[int, Snippet]) -> NamedPixels:
    video, snippet = item
    return f"{video}/{snippet.tick}", snippet.pixels


def _from_name(snippet_id: str) -> tuple[int, int]:
    video, _, tick = snippet_id.partition("/")
    return int(video), int(tick)


def _as_generator(items: Iterator[T]) -> Generator[T, None, None]:
    yield from items
