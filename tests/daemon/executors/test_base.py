import threading

import numpy as np
import pytest

from tsnd_daemon.executors.base import ExecutorThread
from tsnd_daemon.snippets import Snippet

SNIPPET = Snippet("s", np.zeros(1, np.uint8))


class Recorder:
    """Remembers the thread of each call."""

    def __init__(self):
        self.threads = [threading.get_ident()]
        self.closed = False

    def execute(self, snippets):
        self.threads.append(threading.get_ident())
        return {"scores": np.zeros((len(snippets), 1), np.float32)}

    def close(self):
        self.threads.append(threading.get_ident())
        self.closed = True


async def test_an_executor_is_made_used_and_closed_in_one_thread_of_its_own():
    recorder = []
    thread = ExecutorThread("m")

    def make():
        recorder.append(Recorder())
        return recorder[0]

    await thread.start(make)
    await thread.execute([SNIPPET])
    await thread.close()

    assert len(set(recorder[0].threads)) == 1
    assert recorder[0].threads[0] != threading.get_ident()
    assert recorder[0].closed


async def test_executions_are_timed_in_the_thread():
    thread = ExecutorThread("m")
    await thread.start(Recorder)

    first = await thread.execute([SNIPPET])
    second = await thread.execute([SNIPPET])
    await thread.close()

    assert first.start_ns <= first.end_ns <= second.start_ns <= second.end_ns


async def test_a_factory_that_fails_surfaces_its_error_and_leaves_no_thread():
    thread = ExecutorThread("failing")

    def fail():
        raise ValueError("no device")

    with pytest.raises(ValueError, match="no device"):
        await thread.start(fail)
    await thread.close()

    assert not [t for t in threading.enumerate() if "failing" in t.name]
