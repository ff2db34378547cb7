"""The bar is for eyes: on a terminal only, and never in what a program writes to stdout."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from tsnd_client.progress import progress_bar
with progress_bar("snippets", 3, quiet={quiet}) as advance:
    for number in range(3):
        print("line", number)
        advance(1)
"""
LINES = "line 0\nline 1\nline 2\n"


def run(*, quiet=False):
    """Run the program with stderr on a terminal; returns what came on stdout and there."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(quiet=quiet)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Linux has this for the end of a terminal
        pass
    os.close(ours)
    return done.stdout, shown.decode()


def test_a_terminal_shows_the_bar_and_stdout_has_the_lines_alone():
    out, shown = run()

    assert out == LINES
    assert "3/3" in shown
    assert "snippets" in shown


def test_quiet_shows_nothing_at_all():
    assert run(quiet=True) == (LINES, "")


def test_what_is_no_terminal_gets_no_bar():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(quiet=False)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == (LINES, "")
