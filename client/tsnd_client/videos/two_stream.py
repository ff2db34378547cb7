"""The models of a two-stream network at a daemon, and one way to use them on many videos."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tsnd_client.client import Client
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.errors import InputError
from tsnd_client.flow.algorithms import Algorithm
from tsnd_client.flow.workers import FlowPool
from tsnd_client.in_flight import NamedPixels
from tsnd_client.messages import StreamResult
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.reply import EVERYTHING, Reply
from tsnd_client.resilient import OnWait, score_resiliently
from tsnd_client.retrying import Retrying
from tsnd_client.urgency import Priority
from tsnd_client.videos.protocol import SamplingProtocol
from tsnd_client.videos.reading import video_job
from tsnd_client.videos.scoring import (
    DEFAULT_READERS,
    DEFAULT_SNIPPETS_AHEAD,
    Pause,
    score_videos,
)
from tsnd_client.videos.snippet import Outcome, VideoJob

DEFAULT_MAX_IN_FLIGHT = 32
"""Four batches of the daemon's default size, and as many as it takes of one stream."""


@dataclass(frozen=True, slots=True)
class Work:
    """How hard to work, where memory and processors are to be shared with others.

    Attributes:
        readers: Videos that are decoded at the same time.
        flow_workers: Flow fields that are computed at the same time, each in a process.
        flow_algorithm: How; TSN is trained on TV-L1.
        max_in_flight: Most snippets of each modality that are sent and not answered.
        snippets_ahead: Most snippets of each modality that are read and not sent.
        priority: Which snippets the daemon runs first.
        patience_s: How long to go on without an answer of the daemon, seconds.
    """

    readers: int = DEFAULT_READERS
    flow_workers: int = 2
    flow_algorithm: Algorithm = Algorithm.TVL1
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT
    snippets_ahead: int = DEFAULT_SNIPPETS_AHEAD
    priority: Priority = Priority.NORMAL
    patience_s: float = 60.0


@dataclass(frozen=True, slots=True)
class VideoScorer:
    """Scores videos with the models that it holds.

    Attributes:
        models: By modality; rgb before flow where there are both.
        connect: Connects to the daemon; each `score` has a connection of its own, so that
            leaving it early ends its calls and no others.
        flow: Computes flow; None where no model needs it.
        reply: What results hold.
        work: How hard to work.
        on_wait: Told of each wait for the daemon.
    """

    models: Mapping[Modality, ModelInfo]
    connect: Callable[[], Client]
    flow: FlowPool | None
    reply: Reply = EVERYTHING
    work: Work = field(default_factory=Work)
    on_wait: OnWait | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return next(iter(self.models.values())).labels

    def score(
        self, videos: Iterable[tuple[str, Path]], protocol: SamplingProtocol
    ) -> Generator[Outcome, None, None]:
        """Score videos, each with its name; `score_videos` tells the rest."""
        jobs = (video_job(name, path, self.models, protocol, self.flow) for name, path in videos)
        yield from self.score_jobs(jobs)

    def score_jobs(self, jobs: Iterable[VideoJob]) -> Generator[Outcome, None, None]:
        """Score videos however they are opened; likewise."""
        with self.connect() as client:
            yield from score_videos(
                partial(self._results, client),
                self.models,
                jobs,
                readers=self.work.readers,
                snippets_ahead=self.work.snippets_ahead,
                cancel=client.close,
            )

    def _results(
        self, client: Client, model: ModelInfo, snippets: Iterable[NamedPixels], pause: Pause
    ) -> Iterator[StreamResult]:
        """Score one stream, and outlive the daemon's lack of room and its restart."""
        return score_resiliently(
            client,
            model,
            snippets,
            priority=self.work.priority,
            reply=self.reply,
            retrying=Retrying(patience_s=self.work.patience_s),
            on_wait=self.on_wait,
            sleep=pause,
        )


@contextmanager
def video_scorer(
    rgb: str | None = None,
    flow: str | None = None,
    *,
    target: str = DEFAULT_TARGET,
    reply: Reply = EVERYTHING,
    work: Work | None = None,
    on_wait: OnWait | None = None,
) -> Iterator[VideoScorer]:
    """Connect to a daemon, and describe the models to use.

    Args:
        rgb: Name of the rgb model, or of a pair.
        flow: Name of the flow model, or of a pair.
        target: HOST:PORT of the daemon.
        reply: What results hold.
        work: How hard to work.
        on_wait: Told of each wait for the daemon, with the reason and the seconds.

    Raises:
        InputError: No model is named, one is of the other modality, or they have different
            classes.
        ClientError: As `Client.model`.
    """
    work = work or Work()
    connect = partial(Client, target, max_in_flight=work.max_in_flight)
    with connect() as client:
        models = resolve_models(client, rgb, flow)
    with flow_pool(work.flow_algorithm, work.flow_workers if flow else 0) as pool:
        yield VideoScorer(models, connect, pool, reply, work, on_wait)


@contextmanager
def flow_pool(algorithm: Algorithm, workers: int) -> Iterator[FlowPool | None]:
    """Start what computes flow; with no workers nothing does.

    Raises:
        MissingExtra: OpenCV lacks the algorithm.
    """
    if not workers:
        yield None
        return
    with FlowPool(algorithm, workers) as pool:
        yield pool


def resolve_models(client: Client, rgb: str | None, flow: str | None) -> dict[Modality, ModelInfo]:
    """Describe the models to use, each pinned to its version, so that all videos get the same.

    Raises:
        InputError: As `video_scorer`.
        ClientError: As `Client.model`.
    """
    named = {Modality.RGB: rgb, Modality.FLOW: flow}
    models = {
        modality: _resolve(client, name, modality) for modality, name in named.items() if name
    }
    if not models:
        raise InputError("no model is named: give --rgb NAME, --flow NAME, or both.")
    if len({model.labels for model in models.values()}) > 1:
        (first, second) = models.values()
        raise InputError(
            f"models {first.name!r} and {second.name!r} have different classes, "
            f"{len(first.labels)} and {len(second.labels)}: scores of the two cannot be added. "
            "Name two models of one data set, built with the same labels."
        )
    return models


def _resolve(client: Client, name: str, modality: Modality) -> ModelInfo:
    newest = client.model(name, modality)
    if newest.modality is not modality:
        raise InputError(
            f"model {name!r} takes {newest.modality} snippets: name it with --{newest.modality}."
        )
    return client.model(name, modality, version=newest.version)
