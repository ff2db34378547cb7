"""What all commands share: where they are added, and where they report."""

import argparse
import sys
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What commands are added to; argparse has no public name for it."""


def to_stderr(line: str) -> None:
    """Print what is no result."""
    print(line, file=sys.stderr)
