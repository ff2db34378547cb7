"""`tsn bench`: load a daemon; a table of options, which bench/plan.py reads into a plan."""

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

from tsnd_client.commands.options import PriorityOption, TargetOption
from tsnd_client.commands.values import (
    Names,
    Positives,
    one_of,
    to_names,
    to_not_negative,
    to_positive,
    to_positives,
    to_whole,
)
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.urgency import Priority


def _seconds(name: str, text: str) -> OptionInfo:
    option: OptionInfo = typer.Option(name, parser=to_not_negative, metavar="S", help=text)
    return option


def bench(
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Model to load, or a pair.")
    ],
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality",
            parser=one_of("rgb", "flow"),
            metavar="rgb|flow",
            help="Which model of a pair.",
        ),
    ] = None,
    target: TargetOption = DEFAULT_TARGET,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            parser=one_of("native", "kserve"),
            metavar="native|kserve",
            help="kserve: ModelInfer calls to any KServe v2 server; needs tritonclient.",
        ),
    ] = "native",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            parser=to_positive,
            metavar="SNIPPETS_PER_S",
            help="Open loop: snippets come by schedule, so many of all streams together.",
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            parser=to_whole,
            metavar="SNIPPETS",
            help="Closed loop: each stream keeps so many unanswered; shows throughput, and hides "
            "how long a snippet would have waited.",
        ),
    ] = None,
    sweep: Annotated[
        Positives | None,
        typer.Option(
            "--sweep",
            parser=to_positives,
            metavar="R1,R2,...",
            help="Open loop at several rates, in turn.",
        ),
    ] = None,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate",
            help="Search for the highest rate at which 99 % of all snippets are answered within "
            "--p99-ms; --rate says where to begin.",
        ),
    ] = False,
    p99_ms: Annotated[
        float | None,
        typer.Option(
            "--p99-ms", parser=to_positive, metavar="MS", help="The bound of --find-rate."
        ),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(
            "--arrivals",
            parser=one_of("poisson", "constant"),
            metavar="poisson|constant",
            help="How an open loop spaces messages: as of many independent sources, or as of "
            "cameras.",
        ),
    ] = "poisson",
    seed: Annotated[int, typer.Option("--seed", help="What they are drawn with.")] = 0,
    streams: Annotated[
        int | None,
        typer.Option("--streams", parser=to_whole, metavar="N", show_default="16", help="Streams."),
    ] = None,
    group: Annotated[
        int,
        typer.Option(
            "--group",
            parser=to_whole,
            metavar="SNIPPETS",
            help="Snippets in a message; they are due together.",
        ),
    ] = 1,
    priority: PriorityOption = Priority.NORMAL,
    timeout_ms: Annotated[
        float | None,
        typer.Option(
            "--timeout-ms",
            parser=to_positive,
            metavar="MS",
            help="Longest a snippet may wait in the daemon's queue; later ones are refused.",
        ),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(
            "--stream",
            metavar="KEY=VALUE,...",
            help="Instead of --streams, streams of one kind: count, rate (snippets/s of each; "
            "with --rate, --sweep or --find-rate its share), priority, group, timeout_ms, "
            "in_flight. May be repeated. Example: "
            "count=8,rate=5,priority=bulk,group=4,timeout_ms=200",
        ),
    ] = None,
    payload: Annotated[
        str,
        typer.Option(
            "--payload",
            parser=one_of("raw", "jpeg", "shared"),
            metavar="raw|jpeg|shared",
            help="How pixels get to the daemon.",
        ),
    ] = "raw",
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", parser=to_whole, metavar="CLASSES", help="Ask for the best classes."
        ),
    ] = None,
    outputs: Annotated[
        Names | None,
        typer.Option(
            "--outputs",
            parser=to_names,
            metavar="A,B",
            help="Ask for these outputs, not for all.",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Ask for outputs in float16.")] = False,
    warm_up_s: Annotated[
        float, _seconds("--warm-up-s", "Sending without measuring, before each run.")
    ] = 2.0,
    duration_s: Annotated[float, _seconds("--duration-s", "Measuring, in each run.")] = 10.0,
    drain_s: Annotated[
        float, _seconds("--drain-s", "Longest wait for the answers to what was sent.")
    ] = 5.0,
    max_slip_ms: Annotated[
        float,
        typer.Option(
            "--max-slip-ms",
            parser=to_not_negative,
            metavar="MS",
            help="A 99th percentile of this generator's own lateness beyond which a run is marked.",
        ),
    ] = 10.0,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write every number, and where it was measured."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw latency and batch sizes to FILE.png or FILE.svg; needs tsnd[plots].",
        ),
    ] = None,
) -> int:
    """Load a daemon with snippets of many streams, and say how it bears that.

    Prints latency, throughput and what was refused. Latency counts from when a snippet was due
    by schedule.
    """
    asked = locals()  # the options, by their names; nothing else is there yet
    from tsnd_client.bench import command  # noqa: PLC0415 -- other commands need none of it
    from tsnd_client.bench.arguments import Arguments  # noqa: PLC0415

    return command.run(Arguments(**asked))
