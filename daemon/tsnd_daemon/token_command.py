"""`tsnd token new NAME`: makes a token and prints it, once, with the lines that let it in."""

import argparse
from collections.abc import Sequence

from tsnd_daemon.security.tokens import Right, new_token, to_table


def token(argv: Sequence[str]) -> str:
    """Make a token.

    Args:
        argv: `new NAME`.

    Returns:
        The token, and the table for the file that --tokens names.

    Raises:
        SystemExit: For --help, and for other arguments.
    """
    parser = argparse.ArgumentParser(
        prog="tsnd token", description="Make a token that calls are let in with."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="print a new token, and what to add to --tokens FILE")
    new.add_argument("name", metavar="NAME", help="what it is called in logs and messages")
    name = parser.parse_args(argv).name
    secret = new_token()
    return (
        f"# The token, which nothing can show again; give it to the client as TSND_TOKEN:\n"
        f"#   {secret}\n"
        f"# Add to the file that tsnd --tokens names, then send the daemon SIGHUP:\n"
        f"{to_table(name, secret)}"
        f"# rights = [{', '.join(repr(right.value) for right in Right)}]\n"
        f"# models = ['kinetics_rgb']\n"
        f"# max_streams = 4\n"
        f"# max_in_flight = 256\n"
        f"# expires = 2030-01-01T00:00:00Z"
    )
