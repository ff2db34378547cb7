"""`tsn evaluate`: say how well models recognise the videos of a data set."""

import json as to_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.video_options import (
    FlowAlgorithmOption,
    FlowOption,
    FlowWorkersOption,
    MaxInFlightOption,
    PatienceOption,
    ReadersOption,
    RgbOption,
    SnippetsOption,
    WeightsOption,
)
from tsnd_client.commands.videos import complain, to_fusion_weights, to_spread, warn_of_wait
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.errors import InputError
from tsnd_client.urgency import Priority

if TYPE_CHECKING:
    from tsnd_client.datasets.published import PublishedResult
    from tsnd_client.datasets.splits import Split
    from tsnd_client.videos.protocol import Spread
    from tsnd_client.videos.snippet import FailedVideo, ScoredVideo
    from tsnd_client.videos.two_stream import VideoScorer


def evaluate(
    *,
    splits: Annotated[
        list[Path],
        typer.Argument(
            metavar="SPLIT...",
            help="Split files of UCF101, TSN or Kinetics (csv), or a folder with those of UCF101 "
            "or HMDB51.",
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(
            "--root", metavar="FOLDER", help="Where the videos are, or the folders of their images."
        ),
    ],
    rgb: RgbOption = None,
    flow: FlowOption = None,
    weights: WeightsOption = (1.0, 1.0),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Write the scores there: SPLIT_MODALITY.npz, and .tsn.npz for TSN's own tools.",
        ),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(
            "--published",
            metavar="NAME",
            help="Compare with what was published, such as ucf101-bninception-imagenet.",
        ),
    ] = None,
    target: TargetOption = DEFAULT_TARGET,
    snippets: SnippetsOption = 25,
    readers: ReadersOption = 4,
    flow_workers: FlowWorkersOption = 2,
    flow_algorithm: FlowAlgorithmOption = "tvl1",
    max_in_flight: MaxInFlightOption = 32,
    patience_s: PatienceOption = 60.0,
    priority: PriorityOption = Priority.BULK,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not text.")] = False,
) -> int:
    """Say how well models recognise a data set's videos, by TSN's test protocol.

    Prints top-1, top-5 and mean class accuracy of each stream and of both together, per split
    and on average. The exit status is 1 when some video could not be scored.
    """
    from tsnd_client.datasets.evaluate import average, evaluate_split  # noqa: PLC0415
    from tsnd_client.datasets.report import (  # noqa: PLC0415 -- see the package
        evaluation_record,
        published_lines,
        result_lines,
    )
    from tsnd_client.datasets.splits import class_numbers, read_splits  # noqa: PLC0415
    from tsnd_client.flow.algorithms import Algorithm  # noqa: PLC0415
    from tsnd_client.reply import Reply  # noqa: PLC0415
    from tsnd_client.videos.two_stream import Work, video_scorer  # noqa: PLC0415

    fusion, protocol = to_fusion_weights(weights), to_spread(snippets, "caffe")
    expected = _published(published)
    to_test = [split for path in splits for split in read_splits(path)]
    if not root.is_dir():
        raise InputError(f"--root {root} is no folder.")
    work = Work(
        readers,
        flow_workers,
        Algorithm(flow_algorithm),
        max_in_flight=max_in_flight,
        priority=priority,
        patience_s=patience_s,
    )
    results = []
    with video_scorer(
        rgb, flow, target=target, reply=Reply(outputs=("scores",)), work=work, on_wait=warn_of_wait
    ) as scorer:
        labels = [class_numbers(split, scorer.labels) for split in to_test]
        for split, classes in zip(to_test, labels, strict=True):
            scored, failed = _score(split, root, scorer, protocol)
            videos = [(video, classes[video.place]) for video in scored]
            if not videos:
                raise failed[0].error
            if out is not None:
                _write(out, split.name, videos, scorer)
            result = evaluate_split(
                split.name, videos, list(scorer.models), fusion, failed=len(failed)
            )
            results.append(result)
            if not json:
                print(*result_lines(result), sep="\n", flush=True)
    mean = average(results)
    if json:
        print(to_json.dumps(evaluation_record(results, mean, expected), indent=2))
    else:
        if len(results) > 1:
            print(*result_lines(mean), sep="\n")
        if expected is not None:
            print(*published_lines(expected, mean), sep="\n")
    return 1 if mean.failed else 0


def _score(
    split: "Split", root: Path, scorer: "VideoScorer", protocol: "Spread"
) -> tuple[list["ScoredVideo"], list["FailedVideo"]]:
    """Score a split's videos; both lists are in its order."""
    from tsnd_client.datasets.splits import locate  # noqa: PLC0415 -- see the package
    from tsnd_client.progress import progress_bar  # noqa: PLC0415
    from tsnd_client.videos.scoring import in_order  # noqa: PLC0415
    from tsnd_client.videos.snippet import FailedVideo  # noqa: PLC0415

    scored: list[ScoredVideo] = []
    failed: list[FailedVideo] = []
    named = [(video.file, locate(video.file, root)) for video in split.videos]
    with progress_bar(f"videos of {split.name}", len(named)) as advance:
        for outcome in in_order(scorer.score(named, protocol)):
            advance(1)
            if isinstance(outcome, FailedVideo):
                failed.append(outcome)
                complain(outcome)
            else:
                scored.append(outcome)
    return scored, failed


def _write(
    folder: Path, split: str, videos: list[tuple["ScoredVideo", int]], scorer: "VideoScorer"
) -> None:
    from tsnd_client.datasets.evaluate import stream_scores  # noqa: PLC0415 -- see the package
    from tsnd_client.datasets.score_files import write_scores  # noqa: PLC0415

    for modality in scorer.models:
        found = stream_scores(videos, modality)
        if found is not None:
            write_scores(folder, f"{split}_{modality}", found)


def _published(name: str | None) -> "PublishedResult | None":
    from tsnd_client.datasets.published import PUBLISHED  # noqa: PLC0415 -- see the package

    if name is None:
        return None
    if name not in PUBLISHED:
        raise InputError(f"--published {name!r} is not known: choose {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]
