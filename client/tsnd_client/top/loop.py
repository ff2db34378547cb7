"""Looks at a daemon over and over; what it sees goes to a screen, a table or JSON."""

import dataclasses
import json
import sys
import time

from rich.console import Console
from rich.live import Live

from tsnd_client.errors import ClientError
from tsnd_client.top.exposition import scrape
from tsnd_client.top.overview import Overview, overview
from tsnd_client.top.screen import draw

_WIDE = 200
"""Columns of a table that goes to a file or a pipe."""


def look_once(url: str, *, interval_s: float, timeout_s: float) -> Overview:
    """Say what a daemon does in a while; raises ClientError as `scrape` does."""
    before = scrape(url, timeout_s=timeout_s)
    time.sleep(interval_s)
    return overview(before, scrape(url, timeout_s=timeout_s))


def print_table(url: str, found: Overview) -> None:
    """Print it as text on stdout, as wide as the terminal there is."""
    width = None if sys.stdout.isatty() else _WIDE
    Console(width=width).print(draw(url, found))


def print_json(found: Overview) -> None:
    """Print it as JSON on stdout."""
    print(json.dumps(dataclasses.asdict(found), indent=2))


def watch(url: str, *, interval_s: float, timeout_s: float) -> None:
    """Show it on the terminal until interrupted, also while the daemon does not answer.

    Raises:
        ClientError: When it does not answer at the beginning.
    """
    before = scrape(url, timeout_s=timeout_s)
    found = overview(before, before)
    with Live(draw(url, found, "looking"), screen=True, auto_refresh=False) as screen:
        while True:
            time.sleep(interval_s)
            note = ""
            try:
                now = scrape(url, timeout_s=timeout_s)
            except ClientError as err:
                note = str(err)
            else:
                found, before = overview(before, now), now
            screen.update(draw(url, found, note), refresh=True)
