"""The command line of `tsn bench`: a table, read into a plan by plan.py."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tsnd_client.client import DEFAULT_TARGET
from tsnd_client.urgency import PRIORITIES, Priority


def add_bench_arguments(bench: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    _add_server_arguments(bench.add_argument_group("server"))
    _add_load_arguments(bench.add_argument_group("how much"))
    _add_stream_arguments(bench.add_argument_group("streams"))
    _add_snippet_arguments(bench.add_argument_group("snippets and results"))
    _add_time_arguments(bench.add_argument_group("time"))
    _add_output_arguments(bench.add_argument_group("output"))
    bench.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from tsnd_client.bench import command  # noqa: PLC0415 -- other commands need none of it

    return command.run(args)


_Group = argparse._ArgumentGroup


def _add_server_arguments(group: _Group) -> None:
    group.add_argument("--model", required=True, metavar="NAME", help="model to load, or a pair")
    group.add_argument("--modality", choices=("rgb", "flow"), help="which model of a pair")
    group.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="where the daemon listens (default: %(default)s)",
    )
    group.add_argument(
        "--protocol",
        choices=("native", "kserve"),
        default="native",
        help="kserve: ModelInfer calls to any KServe v2 server; needs tritonclient "
        "(default: %(default)s)",
    )


def _add_load_arguments(group: _Group) -> None:
    group.add_argument(
        "--rate",
        type=_positive,
        metavar="SNIPPETS_PER_S",
        help="open loop: snippets come by schedule, so many of all streams together",
    )
    group.add_argument(
        "--in-flight",
        type=_whole,
        metavar="SNIPPETS",
        help="closed loop: each stream keeps so many unanswered; shows throughput, and hides how "
        "long a snippet would have waited",
    )
    group.add_argument(
        "--sweep", type=_rates, metavar="R1,R2,...", help="open loop at several rates, in turn"
    )
    group.add_argument(
        "--find-rate",
        action="store_true",
        help="search for the highest rate at which 99 %% of all snippets are answered within "
        "--p99-ms; --rate says where to begin",
    )
    group.add_argument("--p99-ms", type=_positive, metavar="MS", help="the bound of --find-rate")
    group.add_argument(
        "--arrivals",
        choices=("poisson", "constant"),
        default="poisson",
        help="how an open loop spaces messages: as of many independent sources, or as of cameras "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="what they are drawn with (default: %(default)s)"
    )


def _add_stream_arguments(group: _Group) -> None:
    group.add_argument("--streams", type=_whole, metavar="N", help="streams (default: 16)")
    group.add_argument(
        "--group",
        type=_whole,
        default=1,
        metavar="SNIPPETS",
        help="snippets in a message; they are due together (default: %(default)s)",
    )
    group.add_argument(
        "--priority",
        type=_priority,
        default=Priority.NORMAL,
        metavar="|".join(PRIORITIES),
        help="which snippets the daemon runs first (default: normal)",
    )
    group.add_argument(
        "--timeout-ms",
        type=_positive,
        metavar="MS",
        help="longest a snippet may wait in the daemon's queue; later ones are refused",
    )
    group.add_argument(
        "--stream",
        action="append",
        metavar="KEY=VALUE,...",
        help="instead of --streams, streams of one kind: count, rate (snippets/s of each; with "
        "--rate, --sweep or --find-rate its share), priority, group, timeout_ms, in_flight. May "
        "be repeated. Example: count=8,rate=5,priority=bulk,group=4,timeout_ms=200",
    )


def _add_snippet_arguments(group: _Group) -> None:
    group.add_argument(
        "--payload",
        choices=("raw", "jpeg", "shared"),
        default="raw",
        help="how pixels get to the daemon (default: %(default)s)",
    )
    group.add_argument(
        "--top-k", type=_whole, default=0, metavar="CLASSES", help="ask for the best classes"
    )
    group.add_argument(
        "--outputs", type=_names, metavar="A,B", help="ask for these outputs, not for all"
    )
    group.add_argument("--half", action="store_true", help="ask for outputs in float16")


def _add_time_arguments(group: _Group) -> None:
    for name, default, text in (
        ("--warm-up-s", 2.0, "sending without measuring, before each run"),
        ("--duration-s", 10.0, "measuring, in each run"),
        ("--drain-s", 5.0, "longest wait for the answers to what was sent"),
        ("--max-slip-ms", 10.0, "a 99th percentile of this generator's own lateness beyond which "
         "a run is marked"),
    ):  # fmt: skip
        group.add_argument(
            name,
            type=_not_negative,
            default=default,
            metavar=name.rpartition("-")[2].upper(),
            help=f"{text} (default: %(default)g)",
        )


def _add_output_arguments(group: _Group) -> None:
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="write every number, and where it was measured"
    )
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw latency and batch sizes to FILE.png or FILE.svg; needs tsnd[plots]",
    )


def _checked(
    read: Callable[[str], float], is_good: Callable[[float], bool], expected: str
) -> Callable[[str], float]:
    def check(text: str) -> float:
        try:
            number = read(text)
        except ValueError:
            number = float("nan")
        if not is_good(number):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return number

    return check


_INFINITE = float("inf")
_positive = _checked(float, lambda n: 0 < n < _INFINITE, "a number above 0")
_not_negative = _checked(float, lambda n: 0 <= n < _INFINITE, "a number of at least 0")
_whole = _checked(int, lambda n: n >= 1, "a whole number of at least 1")


def _rates(text: str) -> list[float]:
    return [_positive(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(PRIORITIES)}, got {text!r}")
    return PRIORITIES[text]
