"""What a daemon tells the service manager that started it: ready, stopping, alive.

One datagram a message, to the socket that $NOTIFY_SOCKET names: sd_notify(3). Where nobody
listens, nothing is said.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

_MICRO = 1_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells the service manager.

    Attributes:
        address: Of its socket: a path, or a name with @ for the null byte before it; empty
            when there is none.
        watchdog_s: It counts the daemon as stuck after so long without `WATCHDOG=1`, seconds;
            0 is never.
    """

    address: str = ""
    watchdog_s: float = 0.0

    def ready(self) -> None:
        """Say that the daemon serves, for the first time or again after `reloading`."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that settings are read anew; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._tell("STOPPING=1")

    @asynccontextmanager
    async def watchdog(self) -> AsyncIterator[None]:
        """Give signs of life from the event loop, so that a loop that is stuck gives none."""
        if not self.watchdog_s:
            yield
            return
        beating = asyncio.create_task(self._beat(self.watchdog_s / 2))  # as sd_watchdog(3) says
        try:
            yield
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating

    async def _beat(self, interval_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    def _tell(self, message: str) -> None:
        if not self.address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self.address.replace("@", "\0", 1))
        except OSError as err:
            logger.warning("the service manager at %s hears nothing: %s", self.address, err)


def notifier(environment: Mapping[str, str] = os.environ, *, pid: int | None = None) -> Notifier:
    """Return what tells the service manager that the environment names.

    Args:
        environment: Where systemd leaves word: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.
        pid: Of this process; None asks the system.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    is_ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
    watchdog_us = environment.get("WATCHDOG_USEC", "")
    if not (address and is_ours and watchdog_us.isdecimal()):
        return Notifier(address)
    return Notifier(address, int(watchdog_us) / _MICRO)
