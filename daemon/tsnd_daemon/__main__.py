"""`tsnd`: makes the process ready, then runs the command in it."""

import sys
from collections.abc import Sequence

from tsnd_daemon.allocator import keep_freed_memory
from tsnd_daemon.grpc_io import prefer_older_io

EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; see command.py.

    Args:
        argv: Arguments; None means those of the process.

    Returns:
        The exit status; 130 when interrupted before it could stop in order.
    """
    keep_freed_memory()
    prefer_older_io()
    try:
        # gRPC looks at the environment when it is imported.
        from tsnd_daemon.command import run  # noqa: PLC0415

        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
