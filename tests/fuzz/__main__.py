"""Fuzzes a daemon by hand: `make fuzz`, or a single call again.

python -m tests.fuzz --seed 1 --count 200000
python -m tests.fuzz --seed 1 --only 1234
"""

import argparse
import sys

from tests.fuzz.campaign import run_campaign, run_only
from tests.fuzz.tally import table


def main() -> int:
    """Fuzz; returns 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=1, help="decides what is sent")
    parser.add_argument("--count", type=int, default=200_000, help="messages to send")
    parser.add_argument("--only", type=int, metavar="INDEX", help="make this one call")
    options = parser.parse_args()
    if options.only is None:
        report = run_campaign(options.seed, options.count)
        tally = report.tally
        print(f"seed {options.seed}\n{report}")
    else:
        tally = run_only(options.seed, options.only)
        print(table(tally))
        for fault in tally.faults:
            print(f"FAULT: {fault.text}")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
