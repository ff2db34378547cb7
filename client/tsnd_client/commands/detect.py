"""`tsn detect`: say when in videos which actions happen."""

import json as to_json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.values import one_of, to_positive, to_whole
from tsnd_client.commands.video_options import (
    FlowAlgorithmOption,
    FlowOption,
    FlowWorkersOption,
    MaxInFlightOption,
    ReadersOption,
    RgbOption,
    WeightsOption,
)
from tsnd_client.commands.videos import complain, exit_status
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.errors import ClientError, InputError
from tsnd_client.urgency import Priority

if TYPE_CHECKING:
    from tsnd_client.detection import Detection
    from tsnd_client.videos.detect import DetectedVideo, Videos
    from tsnd_client.videos.detection_task import Task


def detect(
    *,
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", help="Video files, or folders of dense_flow's images."),
    ],
    config: Annotated[
        str,
        typer.Option(
            "--config",
            parser=one_of("thumos14", "activitynet1.2"),
            metavar="thumos14|activitynet1.2",
            help="Data set of the networks: its classes and SSN's settings for it.",
        ),
    ],
    rgb: RgbOption = None,
    flow: FlowOption = None,
    actionness: Annotated[
        str | None,
        typer.Option(
            "--actionness",
            metavar="MODEL",
            help="Model of actionness, or a pair, of which TAG makes proposals; without, they are "
            "sliding windows.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where all detections go: .json as submitted to ActivityNet, or .csv.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FOLDER",
            help="Where a page for each video goes: NAME.html, which needs no network.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Names of the classes, one a line; thumos14 has its own.",
        ),
    ] = None,
    regression: Annotated[
        Path | None,
        typer.Option(
            "--regression",
            metavar="FILE",
            help="The checkpoints' reg_stats as JSON, by modality: "
            '{"rgb": [[mean_location, mean_duration], [std_location, std_duration]]}.',
        ),
    ] = None,
    no_regression: Annotated[
        bool, typer.Option("--no-regression", help="Leave proposals where they are.")
    ] = False,
    weights: WeightsOption = (1.0, 1.0),
    head: Annotated[
        str, typer.Option("--head", metavar="NAME", help="The output with SSN's scores.")
    ] = "ssn",
    actionness_head: Annotated[
        str,
        typer.Option("--actionness-head", metavar="NAME", help="The output with actionness."),
    ] = "scores",
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps", parser=to_positive, metavar="RATE", help="Of videos that do not say."
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", parser=to_whole, metavar="COUNT", help="Detections to print."),
    ] = 5,
    target: TargetOption = DEFAULT_TARGET,
    readers: ReadersOption = 2,
    flow_workers: FlowWorkersOption = 2,
    flow_algorithm: FlowAlgorithmOption = "tvl1",
    max_in_flight: MaxInFlightOption = 32,
    priority: PriorityOption = Priority.NORMAL,
    json: Annotated[
        bool, typer.Option("--json", help="Print all detections as JSON, not the best as text.")
    ] = False,
) -> int:
    """Say when in videos which actions happen, by SSN.

    The exit status is 1 when some video could not be judged, and 2 when none could because of
    what was given.
    """
    from tsnd_client.detection import files  # noqa: PLC0415 -- see the package
    from tsnd_client.flow.algorithms import Algorithm  # noqa: PLC0415
    from tsnd_client.progress import progress_bar  # noqa: PLC0415
    from tsnd_client.videos.detect import detect_videos  # noqa: PLC0415
    from tsnd_client.videos.detection_task import Networks  # noqa: PLC0415
    from tsnd_client.videos.snippet import FailedVideo  # noqa: PLC0415
    from tsnd_client.videos.two_stream import Work  # noqa: PLC0415

    if out is not None:
        files.check_destination(out)
    task = _task(config, labels, regression, use_regression=not no_regression)
    task = replace(task, weights=weights, frames_per_s=fps)
    networks = Networks(rgb, flow, actionness, head, actionness_head)
    work = Work(
        readers,
        flow_workers,
        Algorithm(flow_algorithm),
        max_in_flight=max_in_flight,
        priority=priority,
    )
    named = _named(videos)
    failed: list[FailedVideo] = []
    lack_pages = False
    found: dict[str, Sequence[Detection]] = {}
    with progress_bar("videos", len(named)) as advance:
        for outcome in detect_videos(networks, task, named, target=target, work=work):
            advance(1)
            if isinstance(outcome, FailedVideo):
                failed.append(outcome)
                complain(outcome)
                continue
            found[outcome.name] = outcome.detections
            if report is not None:
                lack_pages |= not _write_page(report, dict(named)[outcome.name], outcome)
            if not json:
                print(*_lines(outcome.name, outcome.detections, top), sep="\n", flush=True)
    if json:
        print(to_json.dumps(files.submission(found)))
    if out is not None and found:
        files.write_detections(out, found)
    return exit_status(failed, len(named)) or int(lack_pages)


def _task(
    config: str, labels: Path | None, regression: Path | None, *, use_regression: bool
) -> "Task":
    from tsnd_client.detection import THUMOS14, THUMOS14_LABELS, inputs, settings_of  # noqa: PLC0415
    from tsnd_client.videos.detection_task import Task  # noqa: PLC0415

    settings = replace(settings_of(config), use_regression=use_regression)
    if use_regression and regression is None:
        raise InputError(
            "give --regression FILE with the checkpoints' reg_stats, or --no-regression."
        )
    if labels is None and settings.classes != THUMOS14.classes:
        raise InputError(f"{config} needs --labels FILE with its {settings.classes} class names.")
    names = inputs.read_labels(labels, settings.classes) if labels else THUMOS14_LABELS
    return Task(settings, names, inputs.read_statistics(regression) if regression else {})


def _write_page(folder: Path, video: Path, found: "DetectedVideo") -> bool:
    """Show what was found in a video; says why where it cannot, and returns whether it could."""
    from tsnd_client.detection.report import Curve, write_report  # noqa: PLC0415
    from tsnd_client.detection.report.build import build_report  # noqa: PLC0415

    page, curve = folder / f"{found.name}.html", found.actionness
    try:
        folder.mkdir(parents=True, exist_ok=True)
        curves = [Curve("actionness", curve.times_s, curve.values)] if curve else []
        write_report(page, build_report(video, found.detections, page=page, curves=curves))
    except (ClientError, OSError) as err:
        print(f"tsn: no page for {found.name}: {err}", file=sys.stderr)
        return False
    return True


def _named(videos: Sequence[Path]) -> "Videos":
    from tsnd_client.videos.listing import name_of  # noqa: PLC0415

    named = [(name_of(path), path) for path in videos]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise InputError(f"two videos are called {twice[0]!r}: detections name their video.")
    return named


def _lines(name: str, detections: Sequence["Detection"], top: int) -> list[str]:
    best = [
        f"  {one.start_s:9.2f} s to {one.end_s:9.2f} s  {one.score:10.4g}  {one.label}"
        for one in detections[:top]
    ]
    return [f"{name} ({len(detections)} detections)", *best]
