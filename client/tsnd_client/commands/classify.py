"""`tsn classify`: say what videos show."""

import json as to_json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.values import one_of, to_whole
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
from tsnd_client.commands.videos import (
    complain,
    exit_status,
    to_fusion_weights,
    to_spread,
    warn_of_wait,
)
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.urgency import Priority


def classify(
    *,
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", help="Video files, or folders of dense_flow's images."),
    ],
    rgb: RgbOption = None,
    flow: FlowOption = None,
    weights: WeightsOption = (1.0, 1.0),
    target: TargetOption = DEFAULT_TARGET,
    snippets: SnippetsOption = 25,
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            parser=one_of("caffe", "pytorch"),
            metavar="caffe|pytorch",
            help="Whose arithmetic spreads the snippets; Caffe's gave the published results.",
        ),
    ] = "caffe",
    top: Annotated[
        int,
        typer.Option("--top", parser=to_whole, metavar="CLASSES", help="Best classes to name."),
    ] = 5,
    readers: ReadersOption = 2,
    flow_workers: FlowWorkersOption = 2,
    flow_algorithm: FlowAlgorithmOption = "tvl1",
    max_in_flight: MaxInFlightOption = 32,
    patience_s: PatienceOption = 60.0,
    priority: PriorityOption = Priority.NORMAL,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per video, not text.")
    ] = False,
) -> int:
    """Say what videos show, by TSN's test protocol: 25 snippets of each, averaged and fused.

    The exit status is 1 when some video could not be classified, and 2 when none could because
    of what was given.
    """
    from tsnd_client.flow.algorithms import Algorithm  # noqa: PLC0415
    from tsnd_client.reply import Reply  # noqa: PLC0415 -- see the package
    from tsnd_client.videos import classify as library  # noqa: PLC0415
    from tsnd_client.videos.scoring import in_order  # noqa: PLC0415
    from tsnd_client.videos.snippet import FailedVideo  # noqa: PLC0415
    from tsnd_client.videos.two_stream import Work, video_scorer  # noqa: PLC0415

    work = Work(
        readers,
        flow_workers,
        Algorithm(flow_algorithm),
        max_in_flight=max_in_flight,
        priority=priority,
        patience_s=patience_s,
    )
    protocol = to_spread(snippets, rule)
    fusion = to_fusion_weights(weights)
    failed: list[FailedVideo] = []
    with video_scorer(
        rgb, flow, target=target, reply=Reply(outputs=("scores",)), work=work, on_wait=warn_of_wait
    ) as scorer:
        named = [(str(path), path) for path in videos]
        for outcome in in_order(scorer.score(named, protocol)):
            if isinstance(outcome, FailedVideo):
                failed.append(outcome)
                complain(outcome)
                continue
            found = library.classify(outcome, scorer, fusion)
            if json:
                print(to_json.dumps(library.classification_record(found, scorer.labels, top)))
            else:
                print(*library.classification_lines(found, scorer.labels, top), sep="\n")
            sys.stdout.flush()
    return exit_status(failed, len(videos))
