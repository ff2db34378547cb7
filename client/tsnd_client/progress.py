"""A progress bar for the commands: on stderr, only where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(
    unit: str, total: int | None = None, *, quiet: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work is, and when it will be done.

    What is printed meanwhile appears above the bar, which goes away at the end.

    Args:
        unit: What is counted, in the plural.
        total: How many there will be; None where nobody knows.
        quiet: Whether to show nothing, whatever stderr is.

    Yields:
        A function that moves the bar on by so many.
    """
    console = Console(stderr=True)
    with Progress(
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
        # Lines on stdout must stay there when it is a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(unit, total=total)

        def advance(steps: int) -> None:
            progress.advance(task, steps)

        yield advance
