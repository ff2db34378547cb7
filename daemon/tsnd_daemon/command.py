"""The command `tsnd`: reads the settings and runs the server; no logic.

Standard output has exactly one line, when the daemon is ready; scripts may wait for it:

    tsnd ready grpc=127.0.0.1:8001 metrics=http://127.0.0.1:8002/metrics models=a,b

Logs go to standard error.
"""

import logging
import sys
from collections.abc import Sequence

import uvloop

from tsnd_daemon.errors import ExecutorLost, StartError
from tsnd_daemon.server import Endpoints, Server
from tsnd_daemon.settings import Settings, load_settings

EXIT_FAILED = 1
EXIT_BAD_START = 2

logger = logging.getLogger("tsnd_daemon")


def run(argv: Sequence[str]) -> int:
    """Run the daemon until it is told to stop.

    Args:
        argv: Arguments.

    Returns:
        The exit status: 0 after a clean stop, 1 when the daemon failed, 2 when it could
        not start.
    """
    try:
        settings = load_settings(argv)
        logging.basicConfig(
            level=settings.log_level,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        uvloop.run(_run(settings))
    except StartError as err:
        print(f"tsnd: error: {err}", file=sys.stderr)
        return EXIT_BAD_START
    except ExecutorLost as err:
        logger.critical("%s; start the daemon anew", err)
        return EXIT_FAILED
    except ExceptionGroup:
        logger.critical("a task of the daemon died", exc_info=True)
        return EXIT_FAILED
    return 0


async def _run(settings: Settings) -> None:
    server = Server(settings)
    server.stop_on_signals()
    await server.run(_announce)


def _announce(endpoints: Endpoints) -> None:
    models = ",".join(endpoints.models)
    print(
        f"tsnd ready grpc={endpoints.grpc} metrics={endpoints.metrics} models={models}", flush=True
    )
