"""Turns two looks at a daemon's metrics into what happened between them; pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tsnd_client.top.exposition import Labels, Scrape

STAGES = ("receive", "queue", "copy", "decode", "compute", "reply")


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What one model did.

    Attributes:
        model: Its name.
        version: Its number.
        engine: Backend and precision.
        snippets_per_s: Snippets run.
        mean_batch: Snippets per execution; None where none ran, as for all that follows.
        utilisation: Part of the time in which its executors computed, 0 to 1.
        p50_s: Half of its snippets took no longer, from message to result, seconds.
        p99_s: 99 in 100 took no longer.
        pending: Snippets that wait now.
        in_flight: Snippets that executors have now.
        misses_per_s: Snippets dropped because of their deadline.
        stages: What part of the whole time each of `STAGES` took, 0 to 1.
    """

    model: str
    version: str
    engine: str
    snippets_per_s: float
    mean_batch: float | None
    utilisation: float | None
    p50_s: float | None
    p99_s: float | None
    pending: int
    in_flight: int
    misses_per_s: float
    stages: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU now: its number, the part of the time it computed, memory in bytes."""

    gpu: str
    utilisation: float
    memory_used_bytes: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Overview:
    """What a daemon did.

    Attributes:
        models: One row for each model and version.
        gpus: One row for each GPU.
        streams: Open now.
        rejected_per_s: Snippets that got an error, by reason; only those that there were.
        cores: That the daemon used.
        resident_bytes: Its memory now.
    """

    models: Sequence[ModelRow]
    gpus: Sequence[GpuRow]
    streams: int
    rejected_per_s: dict[str, float]
    cores: float
    resident_bytes: float


def overview(before: Scrape, now: Scrape) -> Overview:
    """Say what a daemon did between two looks at it.

    A daemon that was started anew meanwhile has counted since then, and that is taken.
    """
    begun = "process_start_time_seconds"
    if before.total(begun) != now.total(begun):
        before = Scrape(before.at_s, {})
    seconds = max(now.at_s - before.at_s, 1e-9)
    reasons = sorted({s.labels["reason"] for s in now.having("tsnd_rejected_snippets_total")})
    rejected = {
        reason: _grown(before, now, "tsnd_rejected_snippets_total", reason=reason) / seconds
        for reason in reasons
    }
    return Overview(
        models=[
            _model_row(before, now, seconds, info.labels) for info in now.having("tsnd_model_info")
        ],
        gpus=_gpus(now),
        streams=int(now.total("tsnd_streams")),
        rejected_per_s={reason: rate for reason, rate in rejected.items() if rate},
        cores=_grown(before, now, "process_cpu_seconds_total") / seconds,
        resident_bytes=now.total("process_resident_memory_bytes"),
    )


def quantile(bounds: Sequence[tuple[float, float]], part: float) -> float | None:
    """Return about how large the samples of a histogram are up to a certain part of them.

    As `histogram_quantile` of Prometheus does, it takes them for evenly spread in their
    bucket, and those beyond the last bound for as large as that.

    Args:
        bounds: Upper bounds, ascending, the last infinite, with how many are not larger.
        part: Of the samples, 0 to 1.

    Returns:
        None without samples.
    """
    count = bounds[-1][1] if bounds else 0.0
    if count <= 0:
        return None
    rank, low, less = part * count, 0.0, 0.0
    for bound, up_to in bounds:
        if up_to >= rank and up_to > less:
            return (
                low if math.isinf(bound) else low + (bound - low) * (rank - less) / (up_to - less)
            )
        low, less = (low if math.isinf(bound) else bound), up_to
    return low


def _model_row(before: Scrape, now: Scrape, seconds: float, info: Labels) -> ModelRow:
    labels = {"model": info["model"], "version": info["version"]}

    def grown(name: str, **more: str) -> float:
        return _grown(before, now, name, **labels, **more)

    snippets, batches = grown("tsnd_inferences_total"), grown("tsnd_executions_total")
    executors = now.total("tsnd_executors", **labels)
    durations = _histogram(before, now, "tsnd_end_to_end_seconds_bucket", labels)
    whole_s = grown("tsnd_end_to_end_seconds_sum")
    return ModelRow(
        **labels,
        engine=f"{info['backend']} {info['precision']}",
        snippets_per_s=snippets / seconds,
        mean_batch=snippets / batches if batches else None,
        utilisation=(
            grown("tsnd_execution_seconds_sum") / seconds / executors if executors else None
        ),
        p50_s=quantile(durations, 0.5),
        p99_s=quantile(durations, 0.99),
        pending=int(now.total("tsnd_pending_snippets", **labels)),
        in_flight=int(now.total("tsnd_in_flight_snippets", **labels)),
        misses_per_s=grown("tsnd_deadline_misses_total") / seconds,
        stages=(
            [grown("tsnd_stage_seconds_sum", stage=stage) / whole_s for stage in STAGES]
            if whole_s
            else None
        ),
    )


def _grown(before: Scrape, now: Scrape, name: str, **labels: str) -> float:
    """Return by how much a counter has grown; one that began anew is as large as it is."""
    total = now.total(name, **labels)
    grown = total - before.total(name, **labels)
    return grown if grown >= 0 else total


def _histogram(
    before: Scrape, now: Scrape, name: str, labels: dict[str, str]
) -> list[tuple[float, float]]:
    bounds = [(sample.labels["le"], sample.value) for sample in now.having(name, **labels)]
    return sorted((float(le), _grown(before, now, name, **labels, le=le)) for le, _ in bounds)


def _gpus(now: Scrape) -> list[GpuRow]:
    return [
        GpuRow(
            gpu := sample.labels["gpu"],
            utilisation=now.total("tsnd_gpu_utilisation_ratio", gpu=gpu),
            memory_used_bytes=now.total("tsnd_gpu_memory_used_bytes", gpu=gpu),
            memory_bytes=sample.value,
        )
        for sample in now.having("tsnd_gpu_memory_bytes")
    ]
