"""What a video shows: TSN's test protocol, from scored snippets to probabilities."""

from dataclasses import dataclass
from typing import Any

from tsnd_client.consensus import mean_over_snippets, top_k
from tsnd_client.fusion import FusionWeights, VideoScores, fuse
from tsnd_client.model_info import Modality
from tsnd_client.videos.snippet import ScoredVideo
from tsnd_client.videos.two_stream import VideoScorer


@dataclass(frozen=True, slots=True)
class Classification:
    """The scores of a video, and how they came about.

    Attributes:
        name: The video's.
        images: How many images it has in dense_flow's numbering.
        snippets: How many snippets of each modality were averaged.
        scores: Its scores, which say themselves what they are made of.
    """

    name: str
    images: int
    snippets: dict[Modality, int]
    scores: VideoScores


def classify(
    video: ScoredVideo, scorer: VideoScorer, weights: FusionWeights | None = None
) -> Classification:
    """Average the scores of a video over its snippets, and fuse its modalities.

    The crops are averaged where the network runs; softmax comes last.

    Args:
        video: With scores among its outputs.
        scorer: What scored it; a modality of its that the video lacks counts as missing.
        weights: Of the modalities; equal ones by default.
    """
    streams = {
        modality: mean_over_snippets(video.streams[modality].outputs["scores"])
        if modality in video.streams
        else None
        for modality in scorer.models
    }
    return Classification(
        name=video.name,
        images=video.images,
        snippets={modality: len(stream.ticks) for modality, stream in video.streams.items()},
        scores=fuse(streams, weights or FusionWeights()),
    )


def classification_lines(found: Classification, labels: tuple[str, ...], top: int) -> list[str]:
    """Say what a video shows, for people."""
    made_of = " + ".join(f"{count} {modality}" for modality, count in found.snippets.items())
    lacking = "".join(f", no {modality}" for modality in found.scores.missing)
    best = top_k(found.scores.probabilities, top)
    return [
        f"{found.name} ({made_of} snippets{lacking})",
        *(f"  {value:6.1%}  {labels[index]}" for index, value in best),
    ]


def classification_record(
    found: Classification, labels: tuple[str, ...], top: int
) -> dict[str, Any]:
    """Say what a video shows, for scripts; docs/classify.md promises the keys."""
    best = top_k(found.scores.probabilities, top)
    return {
        "video": found.name,
        "images": found.images,
        "snippets": {str(modality): count for modality, count in found.snippets.items()},
        "modalities": [str(modality) for modality in found.scores.modalities],
        "missing": [str(modality) for modality in found.scores.missing],
        "top": [
            {
                "index": index,
                "label": labels[index],
                "probability": value,
                "score": float(found.scores.scores[index]),
            }
            for index, value in best
        ],
    }
