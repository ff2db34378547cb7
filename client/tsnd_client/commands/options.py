"""Options that several commands have in common."""

from typing import Annotated

import typer

from tsnd_client.commands.values import to_priority
from tsnd_client.urgency import PRIORITIES, Priority

TargetOption = Annotated[
    str, typer.Option("--target", metavar="HOST:PORT", help="Where the daemon listens.")
]

PriorityOption = Annotated[
    Priority,
    typer.Option(
        "--priority",
        parser=to_priority,
        metavar="|".join(PRIORITIES),
        show_default="normal",
        help="Which snippets the daemon runs first; bulk takes what others leave.",
    ),
]
