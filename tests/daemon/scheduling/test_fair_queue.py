from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd_daemon.scheduling.fair_queue import FairQueue

NORMAL, BULK = 1, 2
ITEMS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=80)


def queue_of(items, quantum=1):
    """Queue (stream, priority, number) for each (stream, priority), numbered from 0."""
    queue: FairQueue[tuple[Any, int, int]] = FairQueue(quantum)
    for number, (stream, priority) in enumerate(items):
        queue.push((stream, priority, number), stream=stream, priority=priority)
    return queue


def popped(queue):
    return [queue.pop() for _ in range(len(queue))]


@given(ITEMS, st.integers(1, 5))
def test_everything_comes_out_once_by_priority_and_each_stream_in_order(items, quantum):
    out = popped(queue_of(items, quantum))

    expected = [(stream, priority, number) for number, (stream, priority) in enumerate(items)]
    assert sorted(out, key=lambda item: item[2]) == expected
    assert [priority for _, priority, _ in out] == sorted(priority for _, priority, _ in out)
    for stream, priority in set(items):
        numbers = [n for s, p, n in out if (s, p) == (stream, priority)]
        assert numbers == sorted(numbers)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(1, 5))
def test_of_streams_with_work_none_gets_more_than_a_quantum_ahead(lengths, quantum):
    queue = queue_of(
        [(stream, NORMAL) for stream, length in enumerate(lengths) for _ in range(length)], quantum
    )

    taken: Counter[int] = Counter()
    while len(queue):
        taken[queue.pop()[0]] += 1
        waiting = [stream for stream, length in enumerate(lengths) if taken[stream] < length]
        if waiting:
            behind = min(taken[stream] for stream in waiting)
            assert max(taken.values()) - behind <= quantum


@pytest.mark.parametrize("quantum", [1, 8])
def test_a_stream_that_sends_little_does_not_wait_for_the_turns_of_others(quantum):
    queue = queue_of([(f"greedy {i % 15}", NORMAL) for i in range(300)], quantum)
    for _ in range(150):
        queue.pop()

    queue.push(("live", NORMAL, 300), stream="live", priority=NORMAL)

    assert queue.pop() == ("live", NORMAL, 300)


@pytest.mark.parametrize("quantum", [1, 4])
def test_streams_that_come_anew_all_the_time_do_not_starve_the_others(quantum):
    """Ten streams send one more snippet whenever one of theirs was taken."""
    queue = queue_of([("greedy", NORMAL)] * 1_000 + [(f"live {i}", NORMAL) for i in range(10)])
    queue._quantum = quantum

    taken = []
    for number in range(2_000, 2_600):
        stream, *_ = queue.pop()
        taken.append(stream)
        if stream != "greedy":
            queue.push((stream, NORMAL, number), stream=stream, priority=NORMAL)

    assert taken.count("greedy") >= 600 / 11 - quantum


def test_a_client_that_opens_new_streams_all_the_time_starves_nobody():
    queue = queue_of([("camera", NORMAL)] * 200, quantum=8)

    taken = []
    for stream in range(400):
        if len(queue) < 250:  # as a bounded queue would be
            for part in range(8):
                queue.push((stream, NORMAL, part), stream=stream, priority=NORMAL)
        taken += [queue.pop()[0] for _ in range(8)]

    assert taken.count("camera") == 200
    turns = [number for number, stream in enumerate(taken) if stream == "camera"][::8]
    assert max(np.diff(turns)) <= 250 + 8
    assert len(queue._levels[NORMAL].streams) <= 250 / 8 + 1


def test_nothing_is_kept_of_streams_that_have_gone():
    queue = queue_of([(str(number), number % 3) for number in range(1_000)], quantum=2)
    for item in list(queue)[::2]:
        queue.remove(item, stream=item[0], priority=item[1])
    popped(queue)

    assert not any(lv.streams or lv.first_turns or lv.round for lv in queue._levels)


def test_a_quantum_keeps_together_what_a_stream_sends_together():
    queue = queue_of([("a", NORMAL), ("b", NORMAL)] * 4, quantum=4)

    assert [stream for stream, _, _ in popped(queue)] == list("aaaabbbb")


@given(st.data(), ITEMS, st.integers(1, 3))
def test_removed_items_are_gone_and_the_others_come_out(data, items, quantum):
    queue = queue_of(items, quantum)
    everything = [(stream, priority, number) for number, (stream, priority) in enumerate(items)]
    taken = [queue.pop() for _ in range(data.draw(st.integers(0, len(items))))]
    rest = [item for item in everything if item not in taken]
    removed = [item for item in rest if data.draw(st.booleans())]

    for item in removed:
        queue.remove(item, stream=item[0], priority=item[1])

    assert set(queue) == set(rest) - set(removed)
    assert sorted(popped(queue)) == sorted(set(rest) - set(removed))


def test_what_is_not_there_cannot_be_removed():
    queue = queue_of([("a", NORMAL)])
    item = queue.pop()

    with pytest.raises(KeyError):
        queue.remove(item, stream="a", priority=NORMAL)
    with pytest.raises(IndexError):
        queue.pop()


@given(ITEMS, st.sampled_from("abcd"), st.integers(0, 2))
def test_room_is_made_by_the_lowest_priority_then_by_the_longest_stream(items, stream, priority):
    queue = queue_of(items)
    lengths = Counter(items)

    victim = queue.victim(stream=stream, priority=priority)

    lowest = max((p for _, p in items if p > priority), default=priority)
    among = {s: n for (s, p), n in lengths.items() if p == lowest}
    longest = max(among.values(), default=0)
    if lowest == priority and longest < among.get(stream, 0) + 2:
        assert victim is None
    else:
        assert victim is not None
        assert (victim[1], among[victim[0]]) == (lowest, longest)
        assert victim[2] == max(n for s, p, n in queue if (s, p) == (victim[0], lowest))


def test_a_newcomer_never_sheds_what_is_more_urgent():
    assert queue_of([("a", NORMAL)] * 50).victim(stream="b", priority=BULK) is None
