"""Writes what follows from protos/: the reference in docs/api.md, and protos/contract.txt.

`make protos` calls it. It refuses to write down a contract that breaks the one before,
unless it is told why.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts import snapshot
from contracts.compatibility import breaks
from contracts.elements import PROTOS, compile_protos, elements
from contracts.reference import reference
from contracts.snapshot import Snapshot, to_promises

API = PROTOS.parent / "docs" / "api.md"
MARK = "<!-- Below: made by `make protos` of the comments in protos/. Above: written by hand. -->\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files; returns 1, and writes nothing, when a promise is broken.

    Args:
        argv: Arguments after the program's name; None takes them from the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m contracts", description=__doc__)
    parser.add_argument(
        "--break", dest="reason", metavar="WHY", help="break the contract, and say why"
    )
    return write(parser.parse_args(argv).reason, protos=PROTOS, lock=snapshot.FILE, api=API)


def write(reason: str | None, *, protos: Path, lock: Path, api: Path) -> int:
    """Write both files, unless that would break a promise for no reason.

    Args:
        reason: Why promises may be broken; None when they may not.
        protos: Root folder of the protos.
        lock: The snapshot of what they have promised.
        api: The page that ends with the reference.

    Returns:
        The exit status.
    """
    files = compile_protos(protos)
    before, now = snapshot.load(lock), to_promises(elements(files))
    found = breaks(before.promises, now)
    if found and reason is None:
        print(*found, sep="\n", file=sys.stderr)
        print(
            "Peers that were built before would not understand this. To break the contract all "
            "the same: make protos-break WHY='...'; see docs/compatibility.md",
            file=sys.stderr,
        )
        return 1
    reasons = (*before.broken, reason) if found and reason else before.broken
    lock.write_text(snapshot.to_text(Snapshot(now, reasons)))
    api.write_text(with_reference(api.read_text(), reference(files)))
    return 0


def with_reference(page: str, text: str) -> str:
    """Put the reference below the mark of a page, in place of what is there."""
    introduction, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError(f"the page has no line {MARK.strip()}")
    return f"{introduction}{mark}\n{text.rstrip()}\n"


if __name__ == "__main__":
    sys.exit(main())
