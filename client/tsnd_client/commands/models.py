"""`tsn models`: list what the daemon serves."""

import contextlib
import json as to_json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from tsnd_client.commands.options import TargetOption
from tsnd_client.defaults import DEFAULT_TARGET
from tsnd_client.errors import InputError, ModelNotFound

if TYPE_CHECKING:
    from tsnd_client.client import Client
    from tsnd_client.model_info import ModelInfo, ModelSummary


def models(
    *,
    target: TargetOption = DEFAULT_TARGET,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON with all that a client needs to know of each model, not text.",
        ),
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="With --json: name the classes of each model, too.")
    ] = False,
) -> int:
    """List the models that the daemon serves."""
    from tsnd_client.client import Client  # noqa: PLC0415 -- see the package
    from tsnd_client.report import model_lines, models_record  # noqa: PLC0415

    if labels and not json:
        raise InputError("--labels goes with --json; the table names no classes.")
    with Client(target) as client:
        listed, pairs = client.models(), client.pairs()
        if json:
            infos = list(_descriptions(client, listed))
            record = models_record(target, infos, pairs, with_labels=labels)
            print(to_json.dumps(record, indent=2))
        else:
            print(*model_lines(listed, pairs), sep="\n")
    return 0


def _descriptions(client: "Client", models: Iterable["ModelSummary"]) -> Iterator["ModelInfo"]:
    """Describe models that were listed, but for those that have gone since."""
    for model in models:
        with contextlib.suppress(ModelNotFound):
            yield client.model(model.name, version=model.version)
