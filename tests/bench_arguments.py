"""The command line of `tsn bench`, parsed and not run."""

import typer

from tsnd_client.bench.arguments import Arguments
from tsnd_client.cli import app


def bench_arguments(*argv: str) -> Arguments:
    """Parse what stands after `tsn bench`.

    Raises:
        typer.BadParameter: An option's value is none of those that it takes.
    """
    command = typer.main.get_group(app).commands["bench"]
    with command.make_context("tsn bench", list(argv)) as context:
        return Arguments(**context.params)
