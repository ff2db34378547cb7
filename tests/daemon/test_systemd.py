"""What the service manager hears, on a real socket."""

import asyncio
import socket
import time

import pytest

from tsnd_daemon.systemd import Notifier, notifier


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def heard(manager):
    return manager.recv(4096).decode()


def test_what_happens_is_told_in_the_manager_s_words(manager):
    telling = notifier({"NOTIFY_SOCKET": manager.getsockname()})
    before = time.monotonic_ns() // 1000

    telling.ready()
    telling.reloading()
    telling.stopping()

    assert heard(manager) == "READY=1"
    state, _, when = heard(manager).partition("\n")
    assert state == "RELOADING=1"
    assert before <= int(when.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert heard(manager) == "STOPPING=1"


def test_a_socket_may_have_a_name_instead_of_a_path():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel chooses a name
        listener.settimeout(5)
        name = listener.getsockname()[1:].decode()
        notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()

        assert heard(listener) == "READY=1"


async def test_a_loop_that_turns_gives_signs_of_life_and_one_that_is_stuck_gives_none(manager):
    loop = asyncio.get_running_loop()
    manager.setblocking(False)
    telling = notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"})

    async with telling.watchdog(), asyncio.timeout(5):
        for _ in range(3):
            assert await loop.sock_recv(manager, 4096) == b"WATCHDOG=1"
        time.sleep(0.3)  # noqa: ASYNC251 -- the loop is stuck, for three times what is allowed
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
        assert await loop.sock_recv(manager, 4096) == b"WATCHDOG=1"

    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left that gives them"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Notifier()),
        ({"WATCHDOG_USEC": "1000000"}, Notifier()),
        ({"NOTIFY_SOCKET": "/run/s"}, Notifier("/run/s")),
        ({"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "1500000"}, Notifier("/run/s", 1.5)),
        ({"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "many"}, Notifier("/run/s")),
        (
            {"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"},
            Notifier("/run/s", 1.5),
        ),
        (
            {"NOTIFY_SOCKET": "/run/s", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "8"},
            Notifier("/run/s"),
        ),
    ],
)
def test_the_environment_says_who_listens(environment, expected):
    assert notifier(environment, pid=7) == expected


async def test_without_a_manager_nothing_is_said():
    async with Notifier().watchdog():
        Notifier().ready()


def test_a_manager_that_has_gone_is_no_reason_to_fail(tmp_path, caplog):
    Notifier(str(tmp_path / "gone")).ready()

    assert "hears nothing" in caplog.text
