"""`tsn live`: say what a camera shows, as it does."""

import json as to_json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsnd_client.commands.options import TargetOption
from tsnd_client.commands.values import to_positive, to_whole
from tsnd_client.commands.video_options import (
    FlowAlgorithmOption,
    FlowOption,
    FlowWorkersOption,
    RgbOption,
    WeightsOption,
)
from tsnd_client.commands.videos import to_fusion_weights
from tsnd_client.defaults import DEFAULT_TARGET

if TYPE_CHECKING:
    from tsnd_client.videos.live import LiveUpdate


def live(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Address (rtsp://...), camera (/dev/video0), video file, folder of images, or - "
            "for the standard input.",
        ),
    ],
    rgb: RgbOption = None,
    flow: FlowOption = None,
    weights: WeightsOption = (1.0, 1.0),
    target: TargetOption = DEFAULT_TARGET,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", parser=to_positive, metavar="PER_S", help="Most snippets a second, of each."
        ),
    ] = 4.0,
    window_s: Annotated[
        float,
        typer.Option(
            "--window-s", parser=to_positive, metavar="S", help="How far back scores count."
        ),
    ] = 5.0,
    top: Annotated[
        int,
        typer.Option("--top", parser=to_whole, metavar="CLASSES", help="Best classes to name."),
    ] = 5,
    flow_workers: FlowWorkersOption = 2,
    flow_algorithm: FlowAlgorithmOption = "dis",
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object per update, not text.")
    ] = False,
) -> int:
    """Say what a camera or file shows, as it is shown, with the latency.

    Flow is computed with dis unless you say otherwise, since tvl1 takes longer than frames take
    to come; networks are trained on tvl1, so scores differ. Ctrl-C ends it.
    """
    from tsnd_client.client import Client  # noqa: PLC0415 -- see the package
    from tsnd_client.flow.algorithms import Algorithm  # noqa: PLC0415
    from tsnd_client.sources.open import open_source  # noqa: PLC0415
    from tsnd_client.videos import live as library  # noqa: PLC0415
    from tsnd_client.videos.two_stream import flow_pool, resolve_models  # noqa: PLC0415

    options = library.LiveOptions(rate, window_s, to_fusion_weights(weights))
    with (
        Client(target) as client,
        flow_pool(Algorithm(flow_algorithm), flow_workers if flow else 0) as pool,
        open_source(source) as frames,
    ):
        models = resolve_models(client, rgb, flow)
        labels = next(iter(models.values())).labels
        if flow and flow_algorithm != "tvl1":
            print(
                f"tsn: warning: flow by {flow_algorithm}; the network is trained on tvl1",
                file=sys.stderr,
            )
        for update in library.score_live(frames, client, models, options, pool):
            record = _record(update, labels, top)
            print(to_json.dumps(record) if jsonl else _line(record), flush=True)
        broken = frames.counters.broken
    if broken:
        print(f"tsn: warning: {broken} broken frames were left out", file=sys.stderr)
    return 0


def _record(update: "LiveUpdate", labels: tuple[str, ...], top: int) -> dict[str, Any]:
    from tsnd_client.consensus import top_k  # noqa: PLC0415 -- see the package

    return {
        "time_s": update.time_s,
        "frame": update.frame,
        "modality": str(update.modality),
        "latency_s": update.latency_s,
        "missing": [str(modality) for modality in update.scores.missing],
        "skipped": update.skipped,
        "top": [
            {"index": index, "label": labels[index], "probability": value}
            for index, value in top_k(update.scores.probabilities, top)
        ],
    }


def _line(record: dict[str, Any]) -> str:
    best = ", ".join(f"{each['label']} {each['probability']:.1%}" for each in record["top"])
    lacking = "".join(f" no {modality} yet;" for modality in record["missing"])
    return f"{record['time_s']:8.2f} s  {1e3 * record['latency_s']:5.0f} ms {lacking} {best}"
