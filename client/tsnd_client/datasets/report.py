"""What `tsn evaluate` prints: results in, lines or a record for JSON out."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsnd_client.datasets.evaluate import SplitResult
from tsnd_client.datasets.published import PublishedResult

_METRICS: Mapping[str, str] = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class_accuracy": "mean class",
}


def result_lines(result: SplitResult) -> list[str]:
    """Make the table of one split."""
    header = "".join(f"{title:>12}" for title in _METRICS.values())
    return [
        f"{result.name}{_shortfalls(result)}",
        f"  {'':<6}{header}",
        *(
            f"  {stream:<6}" + "".join(f"{getattr(found, name):>12.2%}" for name in _METRICS)
            for stream, found in result.accuracy.items()
        ),
    ]


def published_lines(published: PublishedResult, result: SplitResult) -> list[str]:
    """Put what was published beside what came out, with the difference in per cent points."""
    return [
        f"published: {published.about}",
        *(
            f"  {stream:<6}{_METRICS[metric]:>12}{expected:>8.1f}%, here {actual:.2f}% "
            f"({actual - expected:+.2f})"
            for metric, stream, expected, actual in _compared(published, result)
        ),
    ]


def evaluation_record(
    results: Sequence[SplitResult], average: SplitResult, published: PublishedResult | None
) -> dict[str, Any]:
    """Gather everything for JSON; docs/evaluate.md promises the keys to scripts."""
    record: dict[str, Any] = {
        "splits": [dataclasses.asdict(result) for result in results],
        "average": dataclasses.asdict(average),
    }
    if published is not None:
        record["published"] = {
            "about": published.about,
            "differences": [
                {"metric": metric, "stream": stream, "published": expected / 100,
                 "here": actual / 100, "difference": (actual - expected) / 100}
                for metric, stream, expected, actual in _compared(published, average)
            ],
        }  # fmt: skip
    return record


def _compared(
    published: PublishedResult, result: SplitResult
) -> Iterator[tuple[str, str, float, float]]:
    """Give metric, stream, and both values in per cent, of what is in both."""
    for metric, streams in published.metrics.items():
        for stream, expected in streams.items():
            if stream in result.accuracy:
                yield metric, stream, expected, 100 * getattr(result.accuracy[stream], metric)


def _shortfalls(result: SplitResult) -> str:
    videos = max(found.videos for found in result.accuracy.values())
    parts = [f"{videos} videos"]
    if result.partial:
        parts.append(f"{result.partial} of them by one modality alone")
    if result.failed:
        parts.append(f"{result.failed} more failed and count for nothing")
    return f": {', '.join(parts)}"
