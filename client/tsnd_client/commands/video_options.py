"""Options of the commands for whole videos."""

from typing import Annotated

import typer

from tsnd_client.commands.values import one_of, to_not_negative, to_whole

RgbOption = Annotated[
    str | None,
    typer.Option("--rgb", metavar="MODEL", help="Model for rgb snippets, or a pair."),
]

FlowOption = Annotated[
    str | None,
    typer.Option("--flow", metavar="MODEL", help="Model for flow snippets, or a pair."),
]

WeightsOption = Annotated[
    tuple[float, float],
    typer.Option(
        "--weights",
        metavar="RGB FLOW",
        help="What the scores of each are multiplied by before they are added: 1 1 for "
        "Kinetics, 1 1.5 for UCF101 and HMDB51.",
    ),
]

SnippetsOption = Annotated[
    int,
    typer.Option(
        "--snippets", parser=to_whole, metavar="COUNT", help="Snippets per video and model."
    ),
]

ReadersOption = Annotated[
    int,
    typer.Option(
        "--readers",
        parser=to_whole,
        metavar="VIDEOS",
        help="Videos that are decoded at the same time.",
    ),
]

FlowWorkersOption = Annotated[
    int,
    typer.Option(
        "--flow-workers",
        parser=to_whole,
        metavar="COUNT",
        help="Flow fields that are computed at the same time, where a video has none stored.",
    ),
]

FlowAlgorithmOption = Annotated[
    str,
    typer.Option(
        "--flow-algorithm",
        parser=one_of("tvl1", "dis", "farneback"),
        metavar="tvl1|dis|farneback",
        help="How flow is computed; TSN is trained on tvl1, the others are faster.",
    ),
]

MaxInFlightOption = Annotated[
    int,
    typer.Option(
        "--max-in-flight",
        parser=to_whole,
        metavar="SNIPPETS",
        help="Snippets of each model sent and not answered; more let the daemon form larger "
        "batches, fewer take less memory.",
    ),
]

PatienceOption = Annotated[
    float,
    typer.Option(
        "--patience-s",
        parser=to_not_negative,
        metavar="S",
        help="How long to go on trying when the daemon has no room or is gone.",
    ),
]
