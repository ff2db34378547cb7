"""`tsn evaluate-detection`: judge detections by the protocol of their data set."""

import json as to_json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Dataset(StrEnum):
    """What detections can be judged on."""

    THUMOS14 = "thumos14"
    ACTIVITYNET_1_2 = "activitynet1.2"
    ACTIVITYNET_1_3 = "activitynet1.3"


class ResultsUnit(StrEnum):
    """What the segments of results are counted in."""

    SECONDS = "seconds"
    FRACTION = "fraction"


class TieBreak(StrEnum):
    """Which of equal scores, and of equal overlaps, comes first."""

    ORIGINAL = "original"
    FIRST = "first"


def evaluate_detection(
    *,
    dataset: Annotated[
        Dataset, typer.Option("--dataset", help="By whose protocol: which tIoUs, which subset.")
    ],
    results: Annotated[
        Path,
        typer.Option(
            "--results",
            metavar="FILE",
            help="Detections as JSON, in the form of a submission to ActivityNet.",
        ),
    ],
    ground_truth: Annotated[
        Path,
        typer.Option(
            "--ground-truth",
            metavar="PATH",
            help="THUMOS14's folder of annotations, ActivityNet's JSON, or a proposal list.",
        ),
    ],
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset",
            metavar="NAME",
            help="Part of ActivityNet's JSON to judge on, where it is not the usual one.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Class names of a proposal list, one a line; THUMOS14's are known.",
        ),
    ] = None,
    durations: Annotated[
        Path | None,
        typer.Option(
            "--durations",
            metavar="FILE",
            help="Lines of a video and its seconds, where a proposal list counts in frames.",
        ),
    ] = None,
    unit: Annotated[
        ResultsUnit,
        typer.Option("--unit", help="What the segments of the results are counted in."),
    ] = ResultsUnit.SECONDS,
    ties: Annotated[
        TieBreak,
        typer.Option(
            "--ties",
            help="Which of equal scores comes first: as in the original, which depends on the "
            "CPU, or that which is given first.",
        ),
    ] = TieBreak.ORIGINAL,
    skip_unknown_labels: Annotated[
        bool,
        typer.Option(
            "--skip-unknown-labels",
            help="Leave out detections of classes that the ground truth does not have.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the curves to FILE.png or FILE.svg."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> int:
    """Compute mAP at every tIoU, AR@AN and the precision of every class.

    The published results of SSN stand beside them.
    """
    from tsnd_client import evaluation  # noqa: PLC0415 -- see the package
    from tsnd_client.evaluation.input_files import read_text  # noqa: PLC0415
    from tsnd_client.evaluation.tables import to_json as to_values  # noqa: PLC0415
    from tsnd_client.evaluation.tables import to_text  # noqa: PLC0415

    if plot:
        from tsnd_client.evaluation import plots  # noqa: PLC0415 -- needs an extra

        plots.check_format(plot)
    protocol = evaluation.PROTOCOLS[dataset.value]
    lengths = evaluation.read_durations(durations) if durations else None
    names = read_text(labels).split("\n") if labels else protocol.labels
    truth = evaluation.read_ground_truth(
        ground_truth,
        subset=subset or protocol.subset,
        labels=[name.strip() for name in names if name.strip()] if names else None,
        durations_s=lengths,
    )
    result = evaluation.evaluate(
        evaluation.read_results(results),
        evaluation.in_unit(truth, evaluation.Unit(unit.value), lengths or {}),
        protocol,
        ties=evaluation.Ties(ties.value),
        skip_unknown_labels=skip_unknown_labels,
    )
    if plot:
        plots.write_plot(plot, result)
    if json:
        print(to_json.dumps(to_values(result, truth.left_out), indent=2, allow_nan=False))
    else:
        print(to_text(result, truth.left_out))
    return 0
