"""`tsn top`: show what a daemon does, live."""

import sys
from typing import Annotated

import typer

from tsnd_client.commands.values import to_positive


def top(
    *,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", metavar="HOST:PORT|URL", help="Where the daemon tells its metrics."
        ),
    ] = "127.0.0.1:8002",
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval-s", parser=to_positive, metavar="S", help="Time from look to look."
        ),
    ] = 2.0,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout-s", parser=to_positive, metavar="S", help="Longest wait for an answer."
        ),
    ] = 5.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look for one interval, print a table and end.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Look for one interval, print JSON and end.")
    ] = False,
) -> int:
    """Show live what a daemon does: snippets/s, latency, batches, and where the time goes.

    Without a terminal it looks once. Ctrl-C ends it.
    """
    from tsnd_client.top import loop  # noqa: PLC0415 -- see the package
    from tsnd_client.top.exposition import metrics_url  # noqa: PLC0415

    url = metrics_url(metrics)
    if sys.stdout.isatty() and not once and not json:
        loop.watch(url, interval_s=interval_s, timeout_s=timeout_s)
        return 0
    found = loop.look_once(url, interval_s=interval_s, timeout_s=timeout_s)
    if json:
        loop.print_json(found)
    else:
        loop.print_table(url, found)
    return 0
