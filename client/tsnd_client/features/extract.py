"""Features of many videos into a store; what is there already is not computed again."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tsnd_client.errors import ClientError, InputError, VideoError
from tsnd_client.features.store import FeatureStore
from tsnd_client.features.video_features import to_features
from tsnd_client.model_info import Modality
from tsnd_client.videos.protocol import Dense
from tsnd_client.videos.snippet import FailedVideo, Outcome, ScoredVideo
from tsnd_client.videos.two_stream import VideoScorer


@dataclass(frozen=True, slots=True)
class Destination:
    """What to keep of videos, and where.

    Attributes:
        store: Where.
        interval: Frames from one snippet to the next.
        outputs: Names of the models' outputs.
    """

    store: FeatureStore
    interval: int
    outputs: Sequence[str]


@dataclass(slots=True)
class Extraction:
    """How far an extraction has come.

    Attributes:
        videos: How many there are to extract, those included that were there before.
        present: How many were there before.
        written: Names that were added, in the order in which they were.
        failed: Videos that could not be.
        snippets: Results that were written, of all models.
    """

    videos: int
    present: int
    written: list[str] = field(default_factory=list)
    failed: list[FailedVideo] = field(default_factory=list)
    snippets: int = 0

    @property
    def left(self) -> int:
        """How many videos are not there now."""
        return self.videos - self.present - len(self.written)


def extract(
    scorer: VideoScorer,
    destination: Destination,
    videos: Sequence[tuple[str, Path]],
    *,
    on_outcome: Callable[[Outcome, Extraction], object] = lambda outcome, progress: None,
) -> tuple[Extraction, ClientError | None]:
    """Score every video that a store lacks, and write it as soon as it is complete.

    Args:
        scorer: Scores them.
        destination: Where to.
        videos: Name and path of each; names are distinct.
        on_outcome: Told of each video, when it is written or has failed.

    Returns:
        What was done, and what ended it before all videos had their turn: a daemon that is gone.

    Raises:
        OSError: The store cannot be written to.
    """
    store = destination.store
    missing = [(name, path) for name, path in videos if not store.has(name)]
    progress = Extraction(len(videos), len(videos) - len(missing))
    ended: ClientError | None = None
    with closing(scorer.score(missing, Dense(destination.interval))) as outcomes:
        try:
            for outcome in outcomes:
                kept = _keep(outcome, scorer, destination, progress)
                on_outcome(kept, progress)
        except ClientError as err:
            ended = err
    store.finish([name for name, _ in videos if store.has(name)])
    return progress, ended


def _keep(
    outcome: Outcome,
    scorer: VideoScorer,
    destination: Destination,
    progress: Extraction,
) -> Outcome:
    if isinstance(outcome, ScoredVideo) and (lacking := scorer.models.keys() - outcome.streams):
        outcome = FailedVideo(outcome.place, outcome.name, _too_short(outcome, min(lacking)))
    if isinstance(outcome, FailedVideo):
        progress.failed.append(outcome)
        return outcome
    features = to_features(outcome, destination.interval, destination.outputs)
    destination.store.write(features)
    progress.written.append(outcome.name)
    progress.snippets += sum(len(stream.ticks) for stream in outcome.streams.values())
    return outcome


def _too_short(video: ScoredVideo, lacking: Modality) -> VideoError:
    return VideoError(
        f"{video.name} is too short for a {lacking} snippet: it has {video.images} images, the "
        "frames after the first. Its features would lack a modality that others have."
    )


def check_outputs(scorer: VideoScorer, outputs: Iterable[str]) -> None:
    """Refuse outputs that a model does not have.

    Raises:
        InputError: One of them is not there.
    """
    for model in scorer.models.values():
        names = [output.name for output in model.outputs]
        for output in outputs:
            if output not in names:
                raise InputError(
                    f"model {model.name!r} has no output {output!r}, only {', '.join(names)}. "
                    "Choose with --what."
                )
