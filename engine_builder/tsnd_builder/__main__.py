"""`tsn-build`: parses the command line and prints results and errors; no logic."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from tsnd_builder.cli.caffe import add_convert, add_fetch, add_synth
from tsnd_builder.cli.check import add_inspect, add_verify
from tsnd_builder.cli.package import add_add, add_build
from tsnd_builder.cli.plan import add_plan
from tsnd_builder.errors import BuilderError

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments; None means those of the process.

    Returns:
        The exit status: 0; 1 when a package is out of tolerance; 2 when an argument or a
        file is not what it should be; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        print(arguments.run(arguments))
    except BuilderError as err:
        print(f"tsn-build: error: {err}", file=sys.stderr)
        return err.exit_status
    except BrokenPipeError:
        sys.stderr.close()
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tsn-build", description="Turn Caffe models of TSN into ONNX and model packages."
    )
    parser.add_argument("--version", action="version", version=version("tsnd"))
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")
    add_convert(commands_)
    add_build(commands_)
    add_add(commands_)
    add_plan(commands_)
    add_fetch(commands_)
    add_synth(commands_)
    add_verify(commands_)
    add_inspect(commands_)
    return parser


if __name__ == "__main__":
    sys.exit(main())
