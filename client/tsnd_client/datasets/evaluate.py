"""How well a two-stream network recognises a data set's videos, by TSN's test protocol."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tsnd_client.accuracy import mean_class_accuracy, top_k_accuracy
from tsnd_client.consensus import mean_over_snippets
from tsnd_client.datasets.score_files import StreamScores
from tsnd_client.fusion import FusionWeights, Scores, fuse
from tsnd_client.model_info import Modality
from tsnd_client.videos.snippet import ScoredVideo

FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often a stream, or both together, are right; shares of 1.

    Attributes:
        videos: How many videos it is taken over.
        top1: Share whose class is the best.
        top5: Share whose class is among the best five.
        mean_class_accuracy: Mean over classes of `top1`: the accuracy that TSN prints.
    """

    videos: int
    top1: float
    top5: float
    mean_class_accuracy: float


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What came out for one split.

    Attributes:
        name: The split's.
        accuracy: By stream: rgb, flow, and fused where there are both.
        partial: How many videos one modality alone has scored.
        failed: How many videos have no scores at all; they count for nothing.
    """

    name: str
    accuracy: Mapping[str, Accuracy]
    partial: int
    failed: int


def evaluate_split(
    name: str,
    videos: Sequence[tuple[ScoredVideo, int]],
    modalities: Sequence[Modality],
    weights: FusionWeights,
    *,
    failed: int = 0,
) -> SplitResult:
    """Count how often each stream is right, and both.

    Args:
        name: The split's.
        videos: At least one; each with the number of its class.
        modalities: Those that were asked for.
        weights: Of the modalities.
        failed: Videos of the split that have no scores.
    """
    accuracy: dict[str, Accuracy] = {}
    for modality in modalities:
        there = [(video, label) for video, label in videos if modality in video.streams]
        if there:
            scores = [_stream_scores(video, modality) for video, _ in there]
            accuracy[str(modality)] = _accuracy(scores, [label for _, label in there])
    streams = [
        {m: _stream_scores(video, m) if m in video.streams else None for m in modalities}
        for video, _ in videos
    ]
    fused = [fuse(each, weights) for each in streams]
    if len(modalities) > 1:
        accuracy[FUSED] = _accuracy([each.scores for each in fused], [label for _, label in videos])
    return SplitResult(name, accuracy, sum(each.is_partial for each in fused), failed)


def average(results: Sequence[SplitResult]) -> SplitResult:
    """Average over splits, as results on UCF101 and HMDB51 are given."""
    streams = [
        stream for stream in results[0].accuracy if all(stream in r.accuracy for r in results)
    ]
    return SplitResult(
        name="average",
        accuracy={
            stream: _average(result.accuracy[stream] for result in results) for stream in streams
        },
        partial=sum(result.partial for result in results),
        failed=sum(result.failed for result in results),
    )


def stream_scores(
    videos: Sequence[tuple[ScoredVideo, int]], modality: Modality
) -> StreamScores | None:
    """Gather one stream's scores for a file; None when no video has any."""
    there = [(video, label) for video, label in videos if modality in video.streams]
    if not there:
        return None
    return StreamScores(
        names=[video.name for video, _ in there],
        labels=np.array([label for _, label in there], np.int64),
        scores=np.stack([video.streams[modality].outputs["scores"] for video, _ in there]),
    )


def _stream_scores(video: ScoredVideo, modality: Modality) -> Scores:
    return mean_over_snippets(video.streams[modality].outputs["scores"])


def _accuracy(scores: Sequence[Scores], labels: Sequence[int]) -> Accuracy:
    table = np.stack(scores)
    return Accuracy(
        videos=len(labels),
        top1=top_k_accuracy(table, labels, 1),
        top5=top_k_accuracy(table, labels, 5),
        mean_class_accuracy=mean_class_accuracy(table, labels),
    )


def _average(found: Iterable[Accuracy]) -> Accuracy:
    each = list(found)
    return Accuracy(
        videos=sum(one.videos for one in each),
        top1=float(np.mean([one.top1 for one in each])),
        top5=float(np.mean([one.top5 for one in each])),
        mean_class_accuracy=float(np.mean([one.mean_class_accuracy for one in each])),
    )
