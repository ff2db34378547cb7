"""`tsn extract`: keep dense features of many videos, for detectors."""

import json as to_json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.values import one_of, to_names, to_whole
from tsnd_client.commands.video_options import (
    FlowAlgorithmOption,
    FlowOption,
    FlowWorkersOption,
    MaxInFlightOption,
    PatienceOption,
    ReadersOption,
    RgbOption,
)
from tsnd_client.commands.videos import complain, warn_of_wait
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.errors import InputError
from tsnd_client.urgency import Priority

if TYPE_CHECKING:
    from tsnd_client.features.extract import Extraction
    from tsnd_client.videos.snippet import Outcome


def extract(
    *,
    videos: Annotated[
        Path,
        typer.Argument(
            metavar="LIST_OR_FOLDER",
            help="A folder of videos or of dense_flow's folders, or a text file with a path on "
            "each line.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where features go.")],
    rgb: RgbOption = None,
    flow: FlowOption = None,
    what: Annotated[
        str,
        typer.Option("--what", metavar="NAMES", help="Outputs to keep: scores, features or both."),
    ] = "features",
    interval: Annotated[
        int,
        typer.Option(
            "--interval",
            parser=to_whole,
            metavar="FRAMES",
            help="Frames from one snippet to the next: 6 for SSN, 5 for TAG, 16 for BSN.",
        ),
    ] = 6,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            parser=one_of("npy", "npz", "hdf5", "csv", "parquet", "zarr"),
            metavar="npy|npz|hdf5|csv|parquet|zarr",
            help="How they are kept.",
        ),
    ] = "npz",
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FOLDER", help="Where the paths of a list start."),
    ] = None,
    target: TargetOption = DEFAULT_TARGET,
    readers: ReadersOption = 4,
    flow_workers: FlowWorkersOption = 2,
    flow_algorithm: FlowAlgorithmOption = "tvl1",
    max_in_flight: MaxInFlightOption = 32,
    patience_s: PatienceOption = 60.0,
    priority: PriorityOption = Priority.BULK,
    json: Annotated[
        bool, typer.Option("--json", help="Print what was done as JSON, not text.")
    ] = False,
) -> int:
    """Keep features of many videos; run it again for what is missing.

    Each video is written whole or not at all, and one that is there is not scored again. The
    exit status is 1 when some video is missing at the end.
    """
    from tsnd_client.features import extract as library  # noqa: PLC0415 -- see the package
    from tsnd_client.features.store import StoreSettings, open_store  # noqa: PLC0415
    from tsnd_client.flow.algorithms import Algorithm  # noqa: PLC0415
    from tsnd_client.progress import progress_bar  # noqa: PLC0415
    from tsnd_client.reply import Reply  # noqa: PLC0415
    from tsnd_client.videos.listing import find_videos  # noqa: PLC0415
    from tsnd_client.videos.snippet import FailedVideo  # noqa: PLC0415
    from tsnd_client.videos.two_stream import Work, video_scorer  # noqa: PLC0415

    outputs = tuple(to_names(what))
    if not outputs:
        raise InputError("--what names nothing: give scores, features, or both.")
    found = find_videos(videos, root)
    work = Work(
        readers,
        flow_workers,
        Algorithm(flow_algorithm),
        max_in_flight=max_in_flight,
        priority=priority,
        patience_s=patience_s,
    )
    started_s = time.monotonic()
    with (
        video_scorer(
            rgb, flow, target=target, reply=Reply(outputs=outputs), work=work, on_wait=warn_of_wait
        ) as scorer,
        progress_bar("videos", len(found)) as advance,
    ):
        library.check_outputs(scorer, outputs)
        settings = StoreSettings(
            format=file_format,
            outputs=outputs,
            interval=interval,
            models={str(m): f"{info.name}:{info.version}" for m, info in scorer.models.items()},
            flow=flow_algorithm if flow else "",
        )
        store = open_store(out, settings)
        advance(sum(store.has(name) for name, _ in found))

        def tell(outcome: "Outcome", _progress: "Extraction") -> None:
            advance(1)
            if isinstance(outcome, FailedVideo):
                complain(outcome)

        destination = library.Destination(store, interval, outputs)
        done, ended = library.extract(scorer, destination, found, on_outcome=tell)
    _report(done, out, time.monotonic() - started_s, as_json=json)
    if ended is not None:
        print(f"tsn: error: {ended}", file=sys.stderr)
    if done.left:
        print(
            f"tsn: error: {done.left} of {done.videos} videos are missing, "
            f"{len(done.failed)} of them failed. The same command goes on with these.",
            file=sys.stderr,
        )
    return 1 if done.left else 0


def _report(done: "Extraction", out: Path, elapsed_s: float, *, as_json: bool) -> None:
    if as_json:
        print(to_json.dumps(_record(done, out, elapsed_s), indent=2))
        return
    print(
        f"{len(done.written)} videos written to {out}, {done.present} were there: "
        f"{done.snippets} snippets in {elapsed_s:.1f} s, {done.snippets / elapsed_s:.1f} per second"
    )


def _record(done: "Extraction", out: Path, elapsed_s: float) -> dict[str, Any]:
    return {
        "out": str(out),
        "videos": done.videos,
        "present": done.present,
        "written": len(done.written),
        "failed": [{"video": each.name, "error": str(each.error)} for each in done.failed],
        "missing": done.left,
        "snippets": done.snippets,
        "elapsed_s": elapsed_s,
    }
