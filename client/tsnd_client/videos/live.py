"""Live videos: snippets at a fixed rate, the newest first, and what they show, with its latency.

source ──► reader ──► newest snippet per modality ──► flow, scoring (a thread each) ──► updates

Nothing waits: what a modality cannot take in time is replaced by what is newer, and counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

from tsnd_client.client import Client
from tsnd_client.errors import DaemonUnavailable, SnippetRejected
from tsnd_client.flow.stack import FlowField, flow_stacks
from tsnd_client.flow.workers import FlowPool
from tsnd_client.fusion import KINETICS_WEIGHTS, FusionWeights, Scores, VideoScores
from tsnd_client.images import Pixels, resize_bgr, to_grey
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.reply import Reply
from tsnd_client.sampling import at_rate
from tsnd_client.sources.base import Frame, FrameSource
from tsnd_client.urgency import Priority
from tsnd_client.videos.crew import Crew
from tsnd_client.videos.rolling import RollingScores

T = TypeVar("T")

_REPLY = Reply(outputs=("scores",))
_UPDATES_AHEAD = 64
_DAEMON_PATIENCE_S = 60.0
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a live video is scored.

    Attributes:
        snippets_per_s: Most snippets per second of each modality.
        window_s: How far back scores count, seconds.
        weights: Of the modalities.
    """

    snippets_per_s: float = 4.0
    window_s: float = 5.0
    weights: FusionWeights = KINETICS_WEIGHTS


@dataclass(frozen=True, slots=True, eq=False)
class LiveUpdate:
    """What a live video shows after one more snippet.

    Attributes:
        modality: Of the snippet.
        frame: Number of its last frame.
        time_s: When that was shown, seconds from the start of the source.
        latency_s: From when that frame was there to its scores, seconds.
        scores: Of the window.
        skipped: Snippets so far that were replaced by newer ones, or had no room.
    """

    modality: Modality
    frame: int
    time_s: float
    latency_s: float
    scores: VideoScores
    skipped: int


@dataclass(frozen=True, slots=True, eq=False)
class _Shot:
    """The frames of one snippet, scaled, and when the last of them was there."""

    frames: tuple[Pixels, ...]
    number: int
    time_s: float
    shown_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    modality: Modality
    shot: _Shot
    scores: Scores


class Newest(Generic[T]):
    """A place for one item, which a newer one replaces; between two threads."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._has_ended = False
        self._changed = threading.Condition()
        self.replaced = 0

    def put(self, item: T) -> None:
        """Put an item in the place of the one that is there, if one is."""
        with self._changed:
            self.replaced += self._item is not None
            self._item = item
            self._changed.notify()

    def end(self) -> None:
        """Let the iteration end, once the item that is there is taken."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._item is not None or self._has_ended)
                item, self._item = self._item, None
            if item is None:
                return
            yield item


def score_live(
    source: FrameSource,
    client: Client,
    models: Mapping[Modality, ModelInfo],
    options: LiveOptions,
    flow: FlowPool | None = None,
    *,
    clock_s: Callable[[], float] = time.monotonic,
) -> Generator[LiveUpdate, None, None]:
    """Score a source as it comes; a file is played at its own speed.

    Args:
        source: Its frames; closed at the end.
        client: The daemon's client.
        models: By modality.
        options: How.
        flow: Computes flow, where a model needs it.
        clock_s: A monotonic clock, seconds.

    Yields:
        One update per scored snippet, until the source ends.

    Raises:
        ClientError: The source is lost, the daemon stays away, or a snippet cannot be scored.
    """
    work = _LiveWork(source, client, models, options=options, flow=flow, clock_s=clock_s)
    rolling = RollingScores(tuple(models), options.window_s, options.weights)
    work.crew.start([work.read, *(partial(work.score, modality) for modality in models)])
    try:
        for scored in work.crew.reports():
            shot = scored.shot
            yield LiveUpdate(
                modality=scored.modality,
                frame=shot.number,
                time_s=shot.time_s,
                latency_s=clock_s() - shot.shown_s,
                scores=rolling.add(scored.modality, shot.time_s, scored.scores),
                skipped=work.skipped,
            )
    finally:
        work.stop()


class _LiveWork:
    """What the threads share, and what they do."""

    def __init__(
        self,
        source: FrameSource,
        client: Client,
        models: Mapping[Modality, ModelInfo],
        *,
        options: LiveOptions,
        flow: FlowPool | None,
        clock_s: Callable[[], float],
    ) -> None:
        self.crew = Crew[_Scored](_UPDATES_AHEAD)
        self._source = source
        self._client = client
        self._models = models
        self._options = options
        self._flow = flow
        self._clock_s = clock_s
        self._stop = threading.Event()
        self._newest = {modality: Newest[_Shot]() for modality in models}
        self._refused = 0

    @property
    def skipped(self) -> int:
        """How many snippets were not scored."""
        return self._refused + sum(each.replaced for each in self._newest.values())

    def stop(self) -> None:
        """Have all threads end, and wait for that."""
        self._stop.set()
        self._source.close()
        for newest in self._newest.values():
            newest.end()
        self.crew.dismiss()

    def read(self) -> None:
        """Take frames as they come, and put snippets up; the reader's whole life."""
        try:
            gather = {
                modality: _Gatherer(model, self._options.snippets_per_s)
                for modality, model in self._models.items()
            }
            for frame, shown_s in self._shown():
                for modality, gatherer in gather.items():
                    shot = gatherer.add(frame, shown_s)
                    if shot is not None:
                        self._newest[modality].put(shot)
        finally:
            for newest in self._newest.values():
                newest.end()

    def score(self, modality: Modality) -> None:
        """Score one modality's newest snippets; a scoring thread's whole life."""
        for shot in self._newest[modality]:
            if self._stop.is_set():
                return
            scores = self._scores(modality, shot)
            if scores is not None:
                self.crew.report(_Scored(modality, shot, scores))

    def _scores(self, modality: Modality, shot: _Shot) -> Scores | None:
        """Score one snippet; None when the daemon had no room for it."""
        pixels = self._pixels(modality, shot)
        given_up_s = self._clock_s() + _DAEMON_PATIENCE_S
        while True:
            try:
                result = self._client.score(
                    self._models[modality],
                    pixels,
                    f"{modality}/{shot.number}",
                    priority=Priority.REAL_TIME,
                    reply=_REPLY,
                )
            except SnippetRejected as err:
                if err.retry_after_s is None:
                    raise
                self._refused += 1
                self._stop.wait(err.retry_after_s)
                return None
            except DaemonUnavailable:
                if self._stop.wait(_RETRY_S) or self._clock_s() > given_up_s:
                    raise
            else:
                return result.outputs["scores"]

    def _pixels(self, modality: Modality, shot: _Shot) -> Pixels:
        if modality is Modality.RGB:
            return shot.frames[0]
        assert self._flow is not None
        fields = [
            FlowField(number, planes)
            for number, planes in enumerate(self._flow.fields(pairwise(shot.frames)), start=1)
        ]
        (stack,) = flow_stacks(fields, [1], len(fields), len(fields))
        return stack.pixels

    def _shown(self) -> Iterator[tuple[Frame, float]]:
        """Give frames with the moment when each was there; what is stored waits for its time."""
        began_s: float | None = None
        for frame in self._source.frames():
            if began_s is None:
                began_s = getattr(self._source, "started_s", None) or self._clock_s() - frame.time_s
            shown_s = began_s + frame.time_s
            if not self._source.is_live:
                self._stop.wait(max(0.0, shown_s - self._clock_s()))
            if self._stop.is_set():
                return
            yield frame, shown_s


class _Gatherer:
    """Makes one modality's snippets of frames in order, at a rate: one frame, or six in a row."""

    def __init__(self, model: ModelInfo, per_s: float) -> None:
        self._model = model
        self._wanted = model.stack_depth + 1
        self._frames: deque[Pixels] = deque()
        self._last = -1
        self._times: deque[float] = deque()
        # It takes one time for each answer, so the time of a frame is there when it is asked.
        self._due = at_rate(iter(self._times.popleft, None), per_s)

    def add(self, frame: Frame, shown_s: float) -> _Shot | None:
        """Take a frame; give a snippet out when it is the last one of that."""
        if frame.index != self._last + 1:
            self._frames.clear()  # flow leads from each frame to the very next
        self._last = frame.index
        self._times.append(frame.time_s)
        if next(self._due) or self._frames:
            self._frames.append(self._scaled(frame))
        if len(self._frames) < self._wanted:
            return None
        frames = tuple(self._frames)
        self._frames.clear()
        return _Shot(frames, frame.index, frame.time_s, shown_s)

    def _scaled(self, frame: Frame) -> Pixels:
        scaled = resize_bgr(frame.bgr, self._model.frame_width, self._model.frame_height)
        return to_grey(scaled) if self._model.modality is Modality.FLOW else scaled
