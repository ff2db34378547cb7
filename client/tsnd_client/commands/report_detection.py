"""`tsn report-detection`: show the detections of a video on a page."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tsnd_client.commands.values import to_whole


class PlayerChoice(StrEnum):
    """Where the page has the video from."""

    AUTO = "auto"
    EMBED = "embed"
    LINK = "link"
    NONE = "none"


def report_detection(
    *,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The video file.")],
    results: Annotated[
        Path,
        typer.Option(
            "--results",
            metavar="FILE",
            help="Detections as JSON, in the form of a submission to ActivityNet; seconds.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page, HTML.")],
    video_id: Annotated[
        str | None,
        typer.Option(
            "--video-id",
            metavar="ID",
            help="The video's name in the results, where it is not that of the file.",
        ),
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(
            "--curves",
            metavar="FILE",
            help="Curves to draw, such as actionness, as JSON; see docs/detection-report.md.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            parser=to_whole,
            metavar="COUNT",
            help="How many detections to show, those of the highest scores.",
        ),
    ] = 100,
    player: Annotated[
        PlayerChoice,
        typer.Option(
            "--player",
            help="Put the video into the page, link to it, or leave it out; auto puts small ones "
            "into it.",
        ),
    ] = PlayerChoice.AUTO,
) -> int:
    """Show the detections of a video on a page: one HTML file that needs no network."""
    from tsnd_client.detection.report import build, write_report  # noqa: PLC0415 -- needs an extra
    from tsnd_client.errors import ReportError  # noqa: PLC0415 -- see the package
    from tsnd_client.evaluation import read_results  # noqa: PLC0415

    name = video_id or video.stem
    detections = read_results(results)
    of_video = [found for found in detections if found.video_id == name]
    if detections and not of_video:
        raise ReportError(
            f"{results} has no detection of {name!r}, but of videos like "
            f"{detections[0].video_id[:60]!r}. Name the video with --video-id."
        )
    report = build.build_report(
        video,
        of_video,
        page=out,
        curves=build.read_curves(curves) if curves else (),
        top=top,
        player=build.Player(player.value),
    )
    write_report(out, report)
    print(f"{out}: {len(report.detections)} of {len(of_video)} detections")
    return 0
