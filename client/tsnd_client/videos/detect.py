"""Actions in videos: one pass over them for proposals, and one to judge these."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tsnd_client.client import Client
from tsnd_client.detection.actionness import actionness_curve, merge_actionness
from tsnd_client.detection.arrays import Floats
from tsnd_client.detection.detection import Detection
from tsnd_client.detection.detector import Detector
from tsnd_client.detection.sliding_windows import sliding_windows
from tsnd_client.errors import ClientError, InputError, VideoError
from tsnd_client.model_info import Modality
from tsnd_client.reply import Reply
from tsnd_client.videos.detection_task import Networks, Task, output_width
from tsnd_client.videos.protocol import Dense
from tsnd_client.videos.scoring import in_order
from tsnd_client.videos.snippet import FailedVideo, Outcome, ScoredVideo
from tsnd_client.videos.two_stream import VideoScorer, Work, video_scorer

Videos = Sequence[tuple[str, Path]]
"""Name and path of each; names are distinct."""

Spans = npt.NDArray[np.int64] | Floats
"""[n, 2] in frames."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Actionness:
    """How likely something happens, over time.

    Attributes:
        times_s: float64 [T], seconds from the beginning.
        values: float64 [T], from 0 to 1.
    """

    times_s: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class DetectedVideo:
    """What was found in a video.

    Attributes:
        name: The video's.
        detections: The best first.
        actionness: What proposals were made of; None where they are sliding windows.
    """

    name: str
    detections: Sequence[Detection]
    actionness: Actionness | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Proposals:
    """Where in a video something may happen, and why."""

    spans: Spans
    actionness: Actionness | None = None


def detect_videos(
    networks: Networks, task: Task, videos: Videos, *, target: str, work: Work
) -> Iterator[DetectedVideo | FailedVideo]:
    """Find the actions of videos.

    Args:
        networks: What to score snippets with.
        task: What to make of the scores.
        videos: The videos; each is read twice where there is actionness.
        target: HOST:PORT of the daemon.
        work: How hard to work.

    Yields:
        What was found in each video, or why nothing could be.

    Raises:
        ClientError: A model cannot be used, or a stream ended, as with a daemon that is gone.
    """
    reply = Reply(outputs=(networks.head,))
    with video_scorer(networks.rgb, networks.flow, target=target, reply=reply, work=work) as scorer:
        detector = task.detector_for(scorer.models, networks.head)
        if networks.actionness is None:
            yield from _judge_all(
                scorer, videos, networks.head, detector=detector, task=task, propose=_windows
            )
            return
        proposals: dict[str, _Proposals] = {}
        for name, found in _propose_all(networks, detector, videos, task, target=target, work=work):
            if isinstance(found, FailedVideo):
                yield found
            else:
                proposals[name] = found
        left = [(name, path) for name, path in videos if name in proposals]

        def propose(video: ScoredVideo, _duration_s: float) -> _Proposals:
            return proposals[video.name]

        yield from _judge_all(
            scorer, left, networks.head, detector=detector, task=task, propose=propose
        )


def _propose_all(
    networks: Networks, detector: Detector, videos: Videos, task: Task, *, target: str, work: Work
) -> Iterator[tuple[str, _Proposals | FailedVideo]]:
    """Score the actionness of videos, and group it."""
    output = networks.actionness_head
    with Client(target) as client:
        rgb, flow = (_named(client, networks.actionness or "", each) for each in Modality)
    with video_scorer(
        rgb, flow, target=target, reply=Reply(outputs=(output,)), work=work
    ) as scorer:
        for model in scorer.models.values():
            if output_width(model, output) < 2:
                raise InputError(
                    f"output {output!r} of model {model.name!r} is one number, expected "
                    "background and action. Name another with --actionness-head."
                )

        def propose(video: ScoredVideo) -> _Proposals:
            scores = _arrays(video, scorer, output)
            spans = detector.propose(scores, video.images)
            return _Proposals(spans, _actionness(scores, detector, video, task))

        for video in _scored(scorer, videos, detector.tag.frame_interval):
            yield video.name, _attempt(propose, video)


def _judge_all(
    scorer: VideoScorer,
    videos: Videos,
    output: str,
    *,
    detector: Detector,
    task: Task,
    propose: Callable[[ScoredVideo, float], _Proposals],
) -> Iterator[DetectedVideo | FailedVideo]:
    """Score videos, and judge their proposals."""

    def judge(video: ScoredVideo) -> DetectedVideo:
        duration_s = task.duration_s(video)
        outputs = _arrays(video, scorer, output)
        proposals = propose(video, duration_s)
        found = detector.detect(outputs, proposals.spans, video.images)
        detections = found.to_detections(video.name, duration_s, task.labels)
        return DetectedVideo(video.name, detections, proposals.actionness)

    for video in _scored(scorer, videos, detector.settings.frame_interval):
        yield _attempt(judge, video)


def _windows(video: ScoredVideo, duration_s: float) -> _Proposals:
    """Propose without looking."""
    return _Proposals(sliding_windows(duration_s) * (video.images / duration_s))


def _actionness(
    scores: Sequence[npt.NDArray[np.float32]], detector: Detector, video: ScoredVideo, task: Task
) -> Actionness:
    """Return the curve that TAG groups."""
    merged = merge_actionness(scores, detector.actionness_weights)
    values = actionness_curve(merged, detector.tag.sigma_ticks)
    frame_s = task.duration_s(video) / video.images
    frames = 1 + np.arange(len(values), dtype=np.float64) * detector.tag.frame_interval
    return Actionness(frames * frame_s, values)


def _scored(scorer: VideoScorer, videos: Videos, interval: int) -> Iterator[Outcome]:
    with closing(scorer.score(videos, Dense(interval))) as outcomes:
        yield from in_order(outcomes)


def _attempt(work: Callable[[ScoredVideo], T], video: Outcome) -> T | FailedVideo:
    """Do something with a video; when it fails, the video has failed, and no other."""
    if isinstance(video, FailedVideo):
        return video
    try:
        return work(video)
    except ClientError as err:
        return FailedVideo(video.place, video.name, err)


def _arrays(video: ScoredVideo, scorer: VideoScorer, output: str) -> list[npt.NDArray[np.float32]]:
    """Take an output of each modality out of a scored video: [T, ...] each."""
    lacking = [str(modality) for modality in scorer.models if modality not in video.streams]
    if lacking:
        raise VideoError(
            f"{video.name} is too short for a {lacking[0]} snippet: it has {video.images} images, "
            "the frames after the first."
        )
    return [video.streams[modality].outputs[output] for modality in scorer.models]


def _named(client: Client, name: str, modality: Modality) -> str | None:
    """Return the name of a model or pair where it has a model of the modality."""
    return name if client.model(name, modality).modality is modality else None
