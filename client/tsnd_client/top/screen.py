"""Draws what a daemon does as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tsnd_client.top.overview import STAGES, ModelRow, Overview

_GIB = 2**30


def draw(url: str, found: Overview, note: str = "") -> Group:
    """Return a screen.

    Args:
        url: Where it was read.
        found: What the daemon does.
        note: What else is to be said, such as that it does not answer any more.
    """
    parts: list[Text | Table] = [Text(_head(url, found)), _models(found)]
    if found.gpus:
        parts.append(_gpus(found))
    if found.rejected_per_s:
        reasons = ", ".join(f"{name} {rate:.1f}/s" for name, rate in found.rejected_per_s.items())
        parts.append(Text(f"rejected: {reasons}", style="yellow"))
    if note:
        parts.append(Text(note, style="red"))
    return Group(*parts)


def _head(url: str, found: Overview) -> str:
    return (
        f"{url}: {found.streams} streams, {found.cores:.2f} cores, "
        f"{found.resident_bytes / _GIB:.2f} GiB resident"
    )


def _models(found: Overview) -> Table:
    table = _table("model", "engine", "snippets/s", "batch", "busy", "p50 ms", "p99 ms", "waiting",
                   "in flight", "late/s", *(f"{stage} %" for stage in STAGES))  # fmt: skip
    for row in found.models:
        table.add_row(*_cells(row))
    return table


def _cells(row: ModelRow) -> list[str]:
    return [
        f"{row.model} {row.version}",
        row.engine,
        f"{row.snippets_per_s:.1f}",
        _number(row.mean_batch),
        _percent(row.utilisation),
        _number(row.p50_s, 1e3),
        _number(row.p99_s, 1e3),
        str(row.pending),
        str(row.in_flight),
        f"{row.misses_per_s:.1f}",
        *(_number(part, 100, digits=0) for part in _stages(row)),
    ]


def _stages(row: ModelRow) -> Sequence[float | None]:
    return row.stages if row.stages is not None else [None] * len(STAGES)


def _gpus(found: Overview) -> Table:
    table = _table("GPU", "busy", "memory GiB", "of")
    for row in found.gpus:
        used, memory = row.memory_used_bytes / _GIB, row.memory_bytes / _GIB
        table.add_row(row.gpu, _percent(row.utilisation), f"{used:.1f}", f"{memory:.1f}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name == "engine" else "right")
    return table


def _number(value: float | None, times: float = 1.0, *, digits: int = 1) -> str:
    return "-" if value is None else f"{value * times:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
