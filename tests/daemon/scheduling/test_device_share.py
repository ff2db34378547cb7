import asyncio
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.virtual_time import run_in_virtual_time
from tsnd_daemon.scheduling.device_share import Device, Share


async def compete(weights, *, batch_s, until_s):
    """Let models with endless work share a device that runs one batch at a time.

    Returns:
        How long the device worked for each.
    """
    device, busy = Device(), asyncio.Lock()
    used: Counter[int] = Counter()

    async def model(name):
        turn = asyncio.Event()
        share = Share(device, weight=weights[name], places=2, on_turn=turn.set)
        async with asyncio.TaskGroup() as batches:
            while True:
                if share.take():
                    batches.create_task(batch(name, share))
                else:
                    turn.clear()
                    await turn.wait()

    async def batch(name, share):
        async with busy:
            await asyncio.sleep(batch_s[name])
            used[name] += batch_s[name]
        share.give_back(int(batch_s[name] * 1e9))

    tasks = [asyncio.create_task(model(name)) for name in weights]
    await asyncio.sleep(until_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return used


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    batch_ms=st.lists(st.integers(5, 20), min_size=4, max_size=4),
)
def test_models_with_work_use_a_device_in_proportion_to_their_weights(weights, batch_ms):
    names = dict(enumerate(weights))
    batch_s = {name: ms / 1e3 for name, ms in enumerate(batch_ms)}

    used = run_in_virtual_time(compete(names, batch_s=batch_s, until_s=3.0))

    total = sum(used.values())
    assert total == pytest.approx(3.0, abs=0.05), "the device is never idle"
    for name, weight in names.items():
        assert used[name] / total == pytest.approx(weight / sum(weights), abs=0.04)


def test_a_model_alone_has_all_its_places():
    share = Share(Device(), weight=1.0, places=3, on_turn=pytest.fail)

    assert [share.take() for _ in range(4)] == [True, True, True, False]


def test_who_was_idle_has_no_claim_for_that_time():
    device = Device()
    busy = Share(device, weight=1.0, places=1, on_turn=lambda: None)
    idle = Share(device, weight=1.0, places=1, on_turn=lambda: None)
    for _ in range(100):
        assert busy.take()
        busy.give_back(1_000)

    turns = 0
    for _ in range(10):
        wants = [share for share in (idle, busy) if share.take()]
        assert len(wants) == 1, "there is one place"
        turns += wants[0] is idle
        wants[0].give_back(1_000)

    assert turns <= 6


def test_a_turn_that_is_not_needed_goes_to_the_next():
    device = Device()
    called: list[str] = []
    first, second, third = (
        Share(device, weight=1.0, places=1, on_turn=partial(called.append, name))
        for name in ("first", "second", "third")
    )
    assert first.take()
    assert not second.take()
    assert not third.take()

    first.give_back(1_000)
    second.pass_on()

    assert called == ["second", "third"]
    assert third.take()


def test_who_takes_one_of_two_free_places_leaves_the_other_to_the_next():
    device, called = Device(), list[str]()
    first, second = (
        Share(device, weight=1.0, places=2, on_turn=partial(called.append, name))
        for name in ("first", "second")
    )
    assert first.take()
    assert first.take()
    assert not second.take()
    assert not first.take()
    first.give_back(0)
    first.give_back(0)
    called.clear()

    assert first.take()

    assert called == ["second"]
    assert second.take()


def test_who_gives_a_place_back_and_wants_it_again_competes_for_it():
    device = Device()
    heavy = Share(device, weight=3.0, places=1, on_turn=lambda: None)
    light = Share(device, weight=1.0, places=1, on_turn=lambda: None)
    turns = []
    for _ in range(40):
        for share in (light, heavy):  # light is always the first to ask
            if share.take():
                turns.append(share)
                other = heavy if share is light else light
                other.take()
                share.give_back(1_000, wants_more=True)
                break

    assert 2.5 < turns.count(heavy) / turns.count(light) < 3.5


def test_who_leaves_is_waited_for_no_more():
    device = Device()
    one = Share(device, weight=1.0, places=1, on_turn=lambda: None)
    other = Share(device, weight=1.0, places=1, on_turn=lambda: None)
    assert one.take()
    assert not other.take()

    one.give_back(5)
    other.leave()

    assert one.take()
