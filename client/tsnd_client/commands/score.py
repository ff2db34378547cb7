"""`tsn score`: score the frames of a video file."""

from pathlib import Path
from typing import Annotated

import typer

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.values import to_whole
from tsnd_client.commands.video_options import PatienceOption
from tsnd_client.defaults import DEFAULT_MAX_IN_FLIGHT, DEFAULT_PATIENCE_S, DEFAULT_TARGET
from tsnd_client.urgency import Priority


def score(
    *,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file to score.")],
    model: Annotated[
        str,
        typer.Option("--model", metavar="NAME", help="Model to score it with, or a pair."),
    ],
    target: TargetOption = DEFAULT_TARGET,
    stride: Annotated[
        int,
        typer.Option(
            "--stride",
            parser=to_whole,
            metavar="FRAMES",
            help="Score every how many frames; 1 scores them all.",
        ),
    ] = 5,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            parser=to_whole,
            metavar="CLASSES",
            help="Best classes to print per snippet and for the video.",
        ),
    ] = 5,
    max_in_flight: Annotated[
        int,
        typer.Option(
            "--max-in-flight",
            parser=to_whole,
            metavar="SNIPPETS",
            help="Snippets sent and not answered; more of them let the daemon form larger "
            "batches, fewer take less memory.",
        ),
    ] = DEFAULT_MAX_IN_FLIGHT,
    priority: PriorityOption = Priority.NORMAL,
    patience_s: PatienceOption = DEFAULT_PATIENCE_S,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write every snippet's scores to FILE.jsonl or, with features, to FILE.npz.",
        ),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Write the features to FILE.jsonl, too.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the result of the whole video alone.")
    ] = False,
) -> int:
    """Score frames of a video file with an rgb model, one snippet per frame."""
    from tsnd_client import score_video  # noqa: PLC0415 -- needs an extra that may be missing

    job = score_video.Job(
        video=video,
        model=model,
        target=target,
        stride=stride,
        top=top,
        max_in_flight=max_in_flight,
        priority=priority,
        patience_s=patience_s,
        out=out,
        features=features,
        quiet=quiet,
    )
    return score_video.run(job)
