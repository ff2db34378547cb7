"""Draws benchmarks. Needs the extra tsnd[plots]; nothing else of ours imports Matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsnd_client.bench.summary import Summary
from tsnd_client.errors import MissingExtra, OutputError

try:
    from matplotlib.figure import Figure
except ImportError as err:
    raise MissingExtra(f"--plot needs Matplotlib ({err}): pip install 'tsnd[plots]'") from err

SUFFIXES = (".png", ".svg")
_SERIES = {"p50": "#4c78a8", "p99": "#e45756", "max": "#9d9d9d"}


def check_format(path: Path) -> None:
    """Find out, before any load, whether there is such a format.

    Raises:
        OutputError: There is none.
    """
    if path.suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: expected a name that ends in .png or .svg.")


def write_plot(path: Path, title: str, runs: Sequence[Summary]) -> None:
    """Draw three panels: throughput against latency, latency over time, batch sizes.

    Args:
        path: Where to.
        title: Above them.
        runs: At least one; over time and batch sizes are the last one's.

    Raises:
        OutputError: The file could not be written.
    """
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    figure.suptitle(title)
    _draw_throughput(left, runs)
    _draw_over_time(middle, runs[-1])
    _draw_batches(right, runs[-1])
    try:
        figure.savefig(path, dpi=120)
    except OSError as err:
        raise OutputError(f"cannot write {path}: {err.strerror}.") from err


# Axes have types where Matplotlib is installed, and none where it is not.
def _draw_throughput(axes: Any, runs: Sequence[Summary]) -> None:  # noqa: ANN401
    ordered = sorted(runs, key=lambda run: run.offered_per_s or run.answered_per_s)
    answered = [run.answered_per_s for run in ordered]
    for name in ("p50", "p99"):
        latencies = [getattr(run.all.latency_ms, name) for run in ordered]
        axes.plot(answered, latencies, "o-", label=name, color=_SERIES[name])
    if any(latency > 0 for latency in latencies):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="answered, snippets/s", ylabel="latency, ms", title="throughput and latency")
    axes.legend()
    axes.grid(alpha=0.3)


def _draw_over_time(axes: Any, run: Summary) -> None:  # noqa: ANN401
    seconds = [point.second for point in run.over_time]
    for name, color in _SERIES.items():
        latencies = [getattr(point, f"{name}_ms") for point in run.over_time]
        axes.plot(seconds, latencies, ".-", label=name, color=color)
    axes.set(xlabel="second in which snippets were due", ylabel="latency, ms", title=_name(run))
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)


def _draw_batches(axes: Any, run: Summary) -> None:  # noqa: ANN401
    sizes = [size for size in run.batch_sizes if size]
    total = sum(run.batch_sizes.values())
    shares = [100 * run.batch_sizes[size] / total for size in sizes]
    axes.bar([str(size) for size in sizes], shares, color=_SERIES["p50"])
    title = f"batch sizes, {_name(run)}" if sizes else "batch sizes: the server does not say"
    axes.set(xlabel="snippets in a batch", ylabel="snippets, %", title=title)


def _name(run: Summary) -> str:
    return "closed loop" if run.offered_per_s is None else f"{run.offered_per_s:.1f} snippets/s"
