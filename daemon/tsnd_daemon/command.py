"""The command `tsnd`: reads the settings and runs the server, or another command; no logic.

Standard output has exactly one line, when the daemon is ready; scripts may wait for it:

    tsnd ready grpc=127.0.0.1:8001 metrics=http://127.0.0.1:8002/metrics models=a,b

Logs go to standard error.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import uvloop

from tsnd_daemon.check_config import check_config
from tsnd_daemon.errors import ExecutorLost, StartError
from tsnd_daemon.logs import configure_logs
from tsnd_daemon.server import Endpoints, Server
from tsnd_daemon.settings import Settings
from tsnd_daemon.settings_sources import load_settings
from tsnd_daemon.systemd import Notifier, notifier
from tsnd_daemon.token_command import token

EXIT_FAILED = 1
EXIT_BAD_START = 2

_COMMANDS: Mapping[str, Callable[[Sequence[str]], str]] = {
    "check-config": check_config,
    "token": token,
}

logger = logging.getLogger("tsnd_daemon")


def run(argv: Sequence[str]) -> int:
    """Run the daemon until it is told to stop, or another of the program's commands.

    Args:
        argv: Arguments; those of a command begin with its name.

    Returns:
        The exit status: 0 after a clean stop, 1 when the daemon failed, 2 when it could
        not start.
    """
    try:
        if argv and argv[0] in _COMMANDS:
            print(_COMMANDS[argv[0]](argv[1:]))
            return 0
        settings = load_settings(argv)
        configure_logs(level=settings.log_level, style=settings.log_format)
        uvloop.run(_run(settings, argv))
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


async def _run(settings: Settings, argv: Sequence[str]) -> None:
    manager = notifier()
    server = Server(settings, on_draining=manager.stopping)
    server.stop_on_signals()
    reload = _Reload(server, argv, manager)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)

    def on_ready(endpoints: Endpoints) -> None:
        _announce(endpoints)
        manager.ready()
        reload.is_ready = True

    async with manager.watchdog():
        await server.run(on_ready)


@dataclass(slots=True)
class _Reload:
    """Reads the settings anew, and takes up those of them that may change.

    Attributes:
        is_ready: Whether the service manager knows that the daemon serves.
    """

    server: Server
    argv: Sequence[str]
    manager: Notifier
    is_ready: bool = False

    def __call__(self) -> None:
        if not self.is_ready:
            self._reload()
            return
        self.manager.reloading()
        self._reload()
        self.manager.ready()

    def _reload(self) -> None:
        try:
            settings = load_settings(self.argv)
            self.server.reload(settings)
        except StartError as err:
            logger.error("nothing is reloaded, and all stays as it was: %s", err)
        else:
            logging.getLogger().setLevel(settings.log_level)
            logger.info("certificates, tokens and log level are reloaded")


def _announce(endpoints: Endpoints) -> None:
    models = ",".join(endpoints.models)
    print(
        f"tsnd ready grpc={endpoints.grpc} metrics={endpoints.metrics} models={models}", flush=True
    )
