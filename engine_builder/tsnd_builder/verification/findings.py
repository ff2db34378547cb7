"""One comparison of verification, and how people and programs are told of it."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tsnd_builder.parity import Agreement
from tsnd_builder.serving_graph import SCORES
from tsnd_builder.storage import replace_file

REPORT_FILE = "parity.json"

_COLUMNS = (
    f"{'max error':>10}{'allowed':>9}{'mean':>10}{'cosine':>10}{'top-1':>7}{'clear':>7}{'top-5':>7}"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison.

    Attributes:
        artifact: The file that was run.
        against: What it was compared with.
        inputs: What both were fed.
        output: The output or Caffe blob compared.
        agreement: How far they are apart.
        tolerance: Largest error allowed, of the largest value; None when only numbers are
            demanded, no certain ones.
    """

    artifact: str
    against: str
    inputs: str
    output: str
    agreement: Agreement
    tolerance: float | None

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the largest error is small enough, and no clear first class is another.

        False when an error is no number.
        """
        error = self.agreement.max_error
        if self.tolerance is None:
            return math.isfinite(error)
        return error <= self.tolerance and (self.output != SCORES or self.agreement.clear_top1 == 1)


@dataclass(frozen=True, slots=True)
class NotRun:
    """A file that this machine cannot run, and why."""

    artifact: str
    reason: str


def write_report(path: Path, findings: Sequence[Finding], not_run: Sequence[NotRun]) -> None:
    """Write everything as JSON.

    Raises:
        PackageError: When it cannot be written.
    """
    report = {
        "tools": {name: version(name) for name in ("tsnd", "onnxruntime", "numpy")},
        "findings": [
            {
                **asdict(finding),
                "agreement": _in_json(asdict(finding.agreement)),
                "is_within_tolerance": finding.is_within_tolerance,
            }
            for finding in findings
        ],
        "not_run": [asdict(entry) for entry in not_run],
    }
    replace_file(path, f"{json.dumps(report, indent=2)}\n".encode())


def _in_json(values: dict[str, float]) -> dict[str, float | None]:
    """Write what is no number as null, for which JSON has no word."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def worst_errors(folder: Path) -> dict[str, float]:
    """Return the largest error that verification found, by artifact; empty if it never ran."""
    try:
        report = json.loads((folder / REPORT_FILE).read_bytes())
        worst: dict[str, float] = {}
        for finding in report["findings"]:
            error = finding["agreement"]["max_error"]
            error = math.nan if error is None else float(error)
            # What is no number stays the worst; max would pass it over.
            worst[finding["artifact"]] = float(
                np.maximum(worst.get(finding["artifact"], 0.0), error)
            )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {}
    return worst


def table(findings: Sequence[Finding], not_run: Sequence[NotRun]) -> Iterator[str]:
    """Describe everything in lines of text."""
    yield f"{'output':<24}{'inputs':<12}{_COLUMNS}"
    for title, group in itertools.groupby(findings, lambda f: f"{f.artifact} against {f.against}"):
        yield title
        yield from map(_row, group)
    for entry in not_run:
        yield f"{entry.artifact} was not run: {entry.reason}"


def _row(finding: Finding) -> str:
    a = finding.agreement
    allowed = "-" if finding.tolerance is None else f"{finding.tolerance:.0e}"
    return (
        f"  {finding.output:<22}{finding.inputs:<12}{a.max_error:>10.1e}{allowed:>9}"
        f"{a.mean_error:>10.1e}{a.cosine:>10.6f}{a.top1:>7.0%}{a.clear_top1:>7.0%}{a.top5:>7.0%}"
        f"{'' if finding.is_within_tolerance else '  OUT OF TOLERANCE'}"
    )
