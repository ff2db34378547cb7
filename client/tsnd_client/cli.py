"""`tsn`: the commands of the client, and how they end.

Exit status: 0 when all went well, 1 when something failed on the way, 2 for input that
cannot be used, 130 after Ctrl-C, 141 when the reader of our output went away.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from tsnd_client.commands.bench import bench
from tsnd_client.commands.classify import classify
from tsnd_client.commands.detect import detect
from tsnd_client.commands.evaluate import evaluate
from tsnd_client.commands.evaluate_detection import evaluate_detection
from tsnd_client.commands.extract import extract
from tsnd_client.commands.flow import flow
from tsnd_client.commands.health import health
from tsnd_client.commands.live import live
from tsnd_client.commands.models import models
from tsnd_client.commands.report_detection import report_detection
from tsnd_client.commands.score import score
from tsnd_client.commands.top import top
from tsnd_client.errors import ClientError, InputError

# Help is the same plain text on a terminal and in a file.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(models)
app.command()(health)
app.command()(score)
app.command()(flow)
app.command()(classify)
app.command()(live)
app.command()(extract)
app.command()(detect)
app.command()(evaluate)
app.command()(bench)
app.command()(top)
app.command()(evaluate_detection)
app.command()(report_detection)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"tsn {version_of('tsnd')}")
        raise typer.Exit


@app.callback()
def tsn(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Client of a tsnd daemon."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tsn` and return its exit status.

    Args:
        argv: Arguments after the program's name; None takes them from the command line.
    """
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except typer.TyperException as err:
        _complain(f"error: {err.format_message()}{_where_to_look(err)}")
        return err.exit_code
    except ClientError as err:
        _complain(f"error: {err}")
        return 2 if isinstance(err, InputError) else 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except OSError as err:  # such as a full disk behind the standard output
        _silence_stdout()
        _complain(f"error: {err.strerror or err}")
        return 1


def _run(arguments: list[str]) -> int:
    """Parse and invoke; errors come out as they are, which Typer's own `main` would print."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("tsn", arguments) as context:
            return int(command.invoke(context))
    except typer.Exit as end:  # of --help and --version
        return end.exit_code


def _where_to_look(err: typer.TyperException) -> str:
    context = getattr(err, "ctx", None)  # of errors of usage
    return f" See `{context.command_path} --help`." if context else ""


def _complain(text: str) -> None:
    print(f"tsn: {text}", file=sys.stderr)


def _silence_stdout() -> None:
    # Python flushes stdout once more at exit; that must not fail a second time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
