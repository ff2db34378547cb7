import asyncio
import threading

import numpy as np
import pytest

from tsnd_daemon.executors.base import ExecutorThread
from tsnd_daemon.snippets import Snippet

SNIPPET = Snippet("s", np.zeros(1, np.uint8))


class Recorder:
    """Remembers what is called, and in which thread; computes nothing until it may."""

    def __init__(self, slots=1, failing=()):
        self.slots = slots
        self.threads = {threading.get_ident()}
        self.calls = []
        self.may_finish = threading.Semaphore(0)
        self._failing = failing

    def start(self, slot, snippets):
        self._note("start", slot, snippets[0].id)

    def finish(self, slot):
        assert self.may_finish.acquire(timeout=10)
        self._note("finish", slot)
        return {"scores": np.zeros((1, 1), np.float32)}

    def close(self):
        self._note("close")

    def _note(self, *call):
        self.threads.add(threading.get_ident())
        self.calls.append(call)
        if call in self._failing:
            raise ValueError(call)


async def started(recorder):
    thread = ExecutorThread("m")
    await thread.start(lambda: recorder)
    return thread


def snippet(name):
    return Snippet(name, np.zeros(1, np.uint8))


async def test_an_executor_is_made_used_and_closed_in_one_thread_of_its_own():
    made = []

    def make():
        made.append(Recorder())
        return made[0]

    thread = ExecutorThread("m")
    await thread.start(make)
    made[0].may_finish.release()
    await thread.submit([SNIPPET])
    await thread.close()

    assert len(made[0].threads) == 1
    assert threading.get_ident() not in made[0].threads
    assert made[0].calls[-1] == ("close",)


async def test_a_batch_starts_while_another_is_computed_as_far_as_there_are_slots():
    recorder = Recorder(slots=2)
    thread = await started(recorder)
    batches = [thread.submit([snippet(name)]) for name in "abc"]
    recorder.may_finish.release(3)
    await asyncio.gather(*batches)
    await thread.close()

    assert thread.slots == 2
    assert recorder.calls == [
        ("start", 0, "a"),
        ("start", 1, "b"),
        ("finish", 0),
        ("start", 0, "c"),
        ("finish", 1),
        ("finish", 0),
        ("close",),
    ]


async def test_executions_follow_one_another_in_time_also_when_they_overlap():
    recorder = Recorder(slots=2)
    thread = await started(recorder)
    batches = [thread.submit([SNIPPET]) for _ in range(3)]
    recorder.may_finish.release(3)
    first, second, third = await asyncio.gather(*batches)
    await thread.close()

    times = [t for e in (first, second, third) for t in (e.start_ns, e.end_ns)]
    assert times == sorted(times)


@pytest.mark.parametrize("failing", [("start", 0, "a"), ("finish", 0)])
async def test_a_batch_that_fails_frees_its_slot_for_others(failing):
    recorder = Recorder(failing=[failing])
    thread = await started(recorder)
    recorder.may_finish.release(2)
    first = thread.submit([snippet("a")])
    with pytest.raises(ValueError, match=failing[0]):
        await first
    recorder._failing = ()
    second = await thread.submit([snippet("b")])
    await thread.close()

    assert second.outputs["scores"].shape == (1, 1)


async def test_closing_waits_for_the_batches_handed_over():
    recorder = Recorder()
    thread = await started(recorder)
    batches = [thread.submit([SNIPPET]) for _ in range(3)]
    recorder.may_finish.release(3)
    await thread.close()

    assert all(batch.done() for batch in batches)
    assert recorder.calls[-1] == ("close",)


async def test_an_executor_that_hangs_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr("tsnd_daemon.executors.base._CLOSE_S", 0.05)
    recorder = Recorder()
    thread = await started(recorder)
    batch = thread.submit([SNIPPET])
    await thread.close()

    assert "executor-m does not end" in caplog.text
    recorder.may_finish.release()
    await batch


async def test_nothing_is_taken_before_the_start_or_after_the_end():
    thread = ExecutorThread("m")
    with pytest.raises(RuntimeError, match="before start"):
        thread.submit([SNIPPET])
    await thread.start(Recorder)
    await thread.close()
    await thread.close()
    with pytest.raises(RuntimeError, match="after close"):
        thread.submit([SNIPPET])


async def test_a_factory_that_fails_surfaces_its_error_and_leaves_no_thread():
    thread = ExecutorThread("failing")

    def fail():
        raise ValueError("no device")

    with pytest.raises(ValueError, match="no device"):
        await thread.start(fail)
    await thread.close()

    assert not [t for t in threading.enumerate() if "failing" in t.name]


async def test_an_executor_that_nobody_waits_for_any_more_is_closed_once_it_is_made():
    thread, recorder = ExecutorThread("abandoned"), Recorder()
    begun, may_end = threading.Event(), threading.Event()

    def make():
        begun.set()
        assert may_end.wait(timeout=10)
        return recorder

    starting = asyncio.create_task(thread.start(make))
    assert await asyncio.to_thread(begun.wait, 10)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    may_end.set()
    await thread.close()

    assert recorder.calls == [("close",)]
    assert not [t for t in threading.enumerate() if "abandoned" in t.name]


async def test_an_exception_that_no_future_takes_fails_its_batch_too():
    class Exhausted(Recorder):
        def start(self, slot, snippets):
            next(iter(()))

    thread = await started(Exhausted())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await thread.submit([SNIPPET])
    await thread.close()
