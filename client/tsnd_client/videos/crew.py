"""Threads that report to whoever started them, and end together."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from tsnd_client.videos.channel import Channel, ChannelClosed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Crash:
    """What ended a thread that was not to end."""

    error: BaseException


class Crew(Generic[T]):
    """Threads that put reports into one channel; it ends with the last of them."""

    def __init__(self, capacity: int) -> None:
        """Prepare; nothing is started.

        Args:
            capacity: Most reports that wait to be taken; then threads that report wait.
        """
        self._reports = Channel[T | _Crash](capacity)
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._lock = threading.Lock()
        self._dismissed = threading.Event()

    def start(self, works: Sequence[Callable[[], object]]) -> None:
        """Start a thread for each work; called once."""
        self._threads = [
            threading.Thread(target=self._run, args=(work,), daemon=True) for work in works
        ]
        self._running = len(works)
        for thread in self._threads:
            thread.start()

    def report(self, report: T) -> None:
        """Tell something; called in the threads.

        Raises:
            ChannelClosed: Nobody listens any more; a thread that it ends has not failed.
        """
        self._reports.put(report)

    def reports(self) -> Iterator[T]:
        """Give out what is reported, until all threads have ended.

        Raises:
            BaseException: What a thread raised.
        """
        for report in self._reports:
            if isinstance(report, _Crash):
                raise report.error
            yield report

    def pause(self, seconds: float) -> None:
        """Wait; called in the threads.

        Raises:
            ChannelClosed: Nobody listens any more.
        """
        if self._dismissed.wait(seconds):
            raise ChannelClosed

    def dismiss(self) -> None:
        """Listen no more, and wait for the threads to notice."""
        self._dismissed.set()
        self._reports.abandon()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], object]) -> None:
        crash = None
        try:
            with suppress(ChannelClosed):
                work()
        except BaseException as err:  # noqa: BLE001 -- raised again in the caller's thread
            crash = _Crash(err)
        self._leave(crash)

    def _leave(self, crash: _Crash | None) -> None:
        if crash is not None:
            with suppress(ChannelClosed):
                self._reports.put(crash)
        with self._lock:
            self._running -= 1
            is_last = not self._running
        if is_last:
            self._reports.end()
