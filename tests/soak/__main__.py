"""Soaks a daemon by hand, or beside other work: `python -m tests.soak`.

It takes about a fifth of a core, for TSND_SOAK_S seconds (600), and prints one line.
"""

import os
import sys

from tests.soak.soak import DEFAULT_S, soak


def main() -> int:
    """Soak; returns 1 when something is wrong."""
    report = soak(float(os.environ.get("TSND_SOAK_S", DEFAULT_S)))
    print(report)
    for fault in report.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
