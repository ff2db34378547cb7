"""A benchmark as JSON: every number, and all that is needed to judge or to repeat it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsnd_client.bench.lane import Served
from tsnd_client.bench.plan import Plan
from tsnd_client.bench.ramp import Step, best_rate
from tsnd_client.bench.summary import Summary
from tsnd_client.errors import OutputError

FORMAT = 1
"""Raised when a key changes its meaning or goes; new keys leave it as it is."""


def to_record(
    plan: Plan,
    served: Served,
    runs: Sequence[Summary],
    steps: Sequence[Step],
    *,
    date: str,
    command: Sequence[str],
    machine: dict[str, object],
    git: str | None,
) -> dict[str, Any]:
    """Gather it.

    Args:
        plan: What was to be done.
        served: What the server says about itself.
        runs: What came of it.
        steps: Of the search for a rate; empty when there was none.
        date: When, in ISO 8601.
        command: The command line.
        machine: Where the generator ran.
        git: The commit of the generator, if it has one.
    """
    return {
        "format": FORMAT,
        "date": date,
        "command": list(command),
        "git": git,
        "machine": machine,
        "daemon": dataclasses.asdict(served),
        "load": _load(plan),
        "runs": [dataclasses.asdict(run) for run in runs],
        "find_rate": _search(plan, steps),
    }


def check_destination(path: Path) -> None:
    """Find out, before any load, whether a file can be written.

    Raises:
        OutputError: It cannot.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: name a file in a folder that exists.")


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write it.

    Raises:
        OutputError: The file could not be written.
    """
    try:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as err:
        raise OutputError(f"cannot write {path}: {err.strerror}.") from err


def _load(plan: Plan) -> dict[str, Any]:
    return {
        "loop": "open" if plan.is_open else "closed",
        "arrivals": plan.arrivals if plan.is_open else None,
        "seed": plan.seed,
        "protocol": plan.protocol,
        "payload": plan.payload,
        "reply": dataclasses.asdict(plan.reply),
        "streams": [
            {**dataclasses.asdict(kind), "priority": kind.priority.name.lower()}
            for kind in plan.kinds
        ],
        **dataclasses.asdict(plan.timing),
        "max_slip_ms": plan.max_slip_ms,
    }


def _search(plan: Plan, steps: Sequence[Step]) -> dict[str, Any] | None:
    if plan.p99_ms is None:
        return None
    return {
        "p99_ms": plan.p99_ms,
        "best_per_s": best_rate(steps),
        "steps": [dataclasses.asdict(step) for step in steps],
    }
