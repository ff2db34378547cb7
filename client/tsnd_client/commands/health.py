"""`tsn health`: say whether the daemon serves; a script needs the exit status alone."""

import dataclasses
import json as to_json
from typing import Annotated

import typer

from tsnd_client.commands.options import TargetOption
from tsnd_client.commands.values import to_positive
from tsnd_client.defaults import DEFAULT_TARGET


def health(
    *,
    target: TargetOption = DEFAULT_TARGET,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not text.")] = False,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout-s", parser=to_positive, metavar="S", help="Longest wait for an answer."
        ),
    ] = 5.0,
) -> int:
    """Say whether the daemon takes snippets, and for which models.

    The exit status is 0 when it does, and 1 when it does not or does not answer.
    """
    from tsnd_client.client import Client  # noqa: PLC0415 -- see the package
    from tsnd_client.report import health_lines  # noqa: PLC0415

    with Client(target, deadline_s=timeout_s) as client:
        found = client.health()
    if json:
        print(to_json.dumps(dataclasses.asdict(found), indent=2))
    else:
        print(*health_lines(found), sep="\n")
    return 0 if found.serving else 1
