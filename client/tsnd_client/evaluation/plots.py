"""Draws evaluations. Needs the extra tsnd[plots]; nothing else here imports Matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np

from tsnd_client.atomic import replacing
from tsnd_client.errors import MissingExtra, OutputError
from tsnd_client.evaluation.evaluate import Evaluation

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as err:
    raise MissingExtra(f"--plot needs Matplotlib ({err}): pip install 'tsnd[plots]'") from err

SUFFIXES = (".png", ".svg")
_COLOR = "#4c78a8"
_SECOND = "#e45756"
_CLASS_HEIGHT_INCHES = 0.18
_MOST_CLASSES = 60


def check_format(path: Path) -> None:
    """Find out, before any work, whether there is such a format.

    Raises:
        OutputError: There is none.
    """
    if path.suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: expected a name that ends in .png or .svg.")


def write_plot(path: Path, evaluation: Evaluation) -> None:
    """Draw three panels: mAP over tIoU, AR over AN, and the classes at the headline threshold.

    Args:
        path: Where to; replaced when the plot is complete.
        evaluation: What to draw.

    Raises:
        OutputError: The suffix is unknown, or the file could not be written.
    """
    check_format(path)
    shown = min(len(evaluation.labels), _MOST_CLASSES)
    height = max(4.5, 1.5 + _CLASS_HEIGHT_INCHES * shown)
    figure = Figure(figsize=(15, height), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    figure.suptitle(f"{evaluation.protocol.dataset}: {evaluation.videos} videos")
    _draw_precision(left, evaluation)
    _draw_recall(middle, evaluation)
    _draw_classes(right, evaluation)
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    try:
        # Without a fixed salt and date two plots of the same numbers would differ.
        with mpl.rc_context({"svg.hashsalt": "tsnd"}), replacing(path) as file:
            figure.savefig(file, dpi=120, format=path.suffix[1:], metadata=metadata)
    except OSError as err:
        raise OutputError(f"cannot write {path}: {err.strerror}.") from err


# Axes have types where Matplotlib is installed, and none where it is not.
def _draw_precision(axes: Any, evaluation: Evaluation) -> None:  # noqa: ANN401
    thresholds = evaluation.protocol.thresholds
    shares = 100 * evaluation.mean_precision
    axes.plot(thresholds, shares, "o-", color=_COLOR, label="these detections")
    published = evaluation.protocol.published
    if published and evaluation.protocol.headline is not None:
        places = [evaluation.protocol.headline] * len(published)
        values = [row.both for row in published]
        axes.plot(places, values, "_", markersize=14, color=_SECOND, label="SSN as published")
    axes.set(xlabel="temporal IoU", ylabel="mAP, %", title=_title(evaluation))
    _finish(axes)


def _draw_recall(axes: Any, evaluation: Evaluation) -> None:  # noqa: ANN401
    curve = evaluation.curve
    for row in range(len(curve.thresholds)):
        axes.plot(
            curve.proposals_per_video,
            100 * curve.recall[row],
            color=_COLOR,
            alpha=0.25,
            label=None
            if row
            else f"at tIoU {curve.thresholds[0]:.2f} to {curve.thresholds[-1]:.2f}",
        )
    axes.plot(curve.proposals_per_video, 100 * curve.average, color=_SECOND, label="average")
    title = f"AR@AN, area {100 * curve.area:.1f} %"
    axes.set(xlabel="proposals per video", ylabel="recall, %", title=title)
    _finish(axes)


def _draw_classes(axes: Any, evaluation: Evaluation) -> None:  # noqa: ANN401
    protocol = evaluation.protocol
    if protocol.headline is None:
        values, metric = evaluation.precision.mean(axis=1), "average AP"
    else:
        column = np.abs(np.array(protocol.thresholds) - protocol.headline).argmin()
        values, metric = evaluation.precision[:, column], f"AP@{protocol.headline:.2g}"
    order = [row for row in np.argsort(values, kind="stable") if not np.isnan(values[row])]
    order = order[-_MOST_CLASSES:]
    names = [evaluation.labels[row][:30].replace("$", r"\$") for row in order]
    axes.barh(range(len(order)), [100 * values[row] for row in order], color=_COLOR)
    axes.set_yticks(range(len(order)), names, fontsize="small")
    of = f", best {_MOST_CLASSES}" if len(evaluation.labels) > _MOST_CLASSES else ""
    axes.set(xlabel=f"{metric}, %", title=f"classes{of}")
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)


def _title(evaluation: Evaluation) -> str:
    return f"{evaluation.protocol.headline_name} {100 * evaluation.headline:.2f} %"


def _finish(axes: Any) -> None:  # noqa: ANN401
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize="small")
    axes.grid(alpha=0.3)
