"""What `tsn` prints: values in, lines or a record for JSON out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd_client.consensus import mean_over_snippets, softmax, top_k
from tsnd_client.errors import SnippetRejected
from tsnd_client.health import Health
from tsnd_client.model_info import ModelInfo, ModelSummary, Pair
from tsnd_client.results import ScoredSnippet


def model_lines(models: Sequence[ModelSummary], pairs: Sequence[Pair] = ()) -> list[str]:
    """Say what a daemon serves: one line per model and version, then one per pair."""
    if not models:
        return ["no models are being served"]
    names = [model.name for model in models] + [pair.name for pair in pairs]
    width = max(map(len, names))
    return [
        *(
            f"{model.name:<{width}}  version {model.version}  {model.modality:<4}  "
            f"{model.classes} classes"
            for model in models
        ),
        *(
            f"{pair.name:<{width}}  pair of {pair.rgb_model} and {pair.flow_model}"
            for pair in pairs
        ),
    ]


def models_record(
    target: str, models: Sequence[ModelInfo], pairs: Sequence[Pair], *, with_labels: bool = False
) -> dict[str, Any]:
    """Gather what a daemon serves for JSON; docs/api.md promises the keys to scripts.

    Args:
        target: The daemon that was asked.
        models: What it serves, one entry per version.
        pairs: Its two-stream pairs.
        with_labels: Whether to name the classes, which may be hundreds.
    """
    return {
        "target": target,
        "models": [_model_record(model, with_labels=with_labels) for model in models],
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
    }


def _model_record(model: ModelInfo, *, with_labels: bool) -> dict[str, Any]:
    record = {
        "name": model.name,
        "version": model.version,
        "modality": model.modality,
        "classes": len(model.labels),
        "snippet_shape": model.snippet_shape,
        "frame_height": model.frame_height,
        "frame_width": model.frame_width,
        "stack_depth": model.stack_depth,
        "crops_per_snippet": model.crops_per_snippet,
        "outputs": [dataclasses.asdict(output) for output in model.outputs],
        "max_batch_size": model.max_batch_size,
        "max_group_size": model.max_group_size,
        "backend": model.backend,
        "precision": model.precision,
    }
    return {**record, "labels": model.labels} if with_labels else record


def health_lines(health: Health) -> list[str]:
    """Say how a daemon is: one line for the whole, then one per model and version."""
    name = f"tsnd {health.version}".rstrip()
    state = "serving" if health.serving else f"not serving: {health.reason}"
    width = max((len(model.name) for model in health.models), default=0)
    return [
        f"{name} at {health.target}: {state}",
        *(
            f"{model.name:<{width}}  version {model.version}  {model.modality}"
            for model in health.models
        ),
    ]


def header_line(model: ModelInfo, top: int) -> str:
    """Say what the lines per snippet hold."""
    return (
        f"{model.name} version {model.version}: top {min(top, len(model.labels))} of "
        f"{len(model.labels)} classes per snippet (softmax of its scores)"
    )


def snippet_line(snippet: ScoredSnippet, labels: Sequence[str], top: int) -> str:
    """Put one snippet's place and best classes on a line."""
    best = ", ".join(_best_classes(snippet.scores, labels, top))
    return f"{snippet.time_s:8.2f} s  frame {snippet.frame_index:6d}  {best}"


def video_lines(snippets: Sequence[ScoredSnippet], labels: Sequence[str], top: int) -> list[str]:
    """Give the best classes of the whole video; needs at least one snippet."""
    mean = mean_over_snippets([snippet.scores for snippet in snippets])
    title = f"whole video (mean of the scores of {len(snippets)} snippets, then softmax)"
    return [title, *(f"  {line}" for line in _best_classes(mean, labels, top))]


def speed_line(snippets: int, elapsed_s: float) -> str:
    """Say how many snippets took how long."""
    return f"{snippets} snippets in {elapsed_s:.2f} s, {snippets / elapsed_s:.1f} snippets/s"


def rejection_line(rejected: Sequence[SnippetRejected], sent: int) -> str:
    """Count the snippets that were not scored and give the first reason."""
    return f"{len(rejected)} of {sent} snippets were not scored; the first: {rejected[0]}"


def versions_line(snippets: Sequence[ScoredSnippet]) -> str:
    """Say which versions of the model scored a video."""
    versions = sorted({snippet.version for snippet in snippets})
    return (
        f"versions {', '.join(map(str, versions))} of the model scored parts of the video, "
        "because another one was rolled out in between; score it again for scores of one"
    )


def _best_classes(scores: npt.NDArray[np.float32], labels: Sequence[str], top: int) -> list[str]:
    return [f"{labels[index]} {value:.1%}" for index, value in top_k(softmax(scores), top)]
