import threading

import pytest

from tsnd_client.videos.channel import Channel, ChannelClosed


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_items_come_out_in_order_and_the_end_after_them():
    channel = Channel[str](3)
    for item in "abc":
        channel.put(item)
    channel.end()

    assert list(channel) == ["a", "b", "c"]


def test_a_full_channel_makes_its_producer_wait_for_room():
    channel = Channel[int](1)

    def produce():
        for item in range(100):
            channel.put(item)
        channel.end()

    thread = in_thread(produce)

    assert list(channel) == list(range(100))
    thread.join()


def test_several_takers_share_the_items():
    channel = Channel[int](2)
    taken: list[int] = []
    threads = [in_thread(lambda: taken.extend(channel)) for _ in range(3)]
    for item in range(60):
        channel.put(item)
    channel.end()
    for thread in threads:
        thread.join()

    assert sorted(taken) == list(range(60))


def test_a_producer_that_waits_is_told_when_nobody_takes_any_more():
    channel, refused = Channel[str](1), threading.Event()
    channel.put("first")

    def produce():
        with pytest.raises(ChannelClosed):
            channel.put("second")
        refused.set()

    thread = in_thread(produce)
    channel.abandon()
    thread.join()

    assert refused.is_set()
    assert list(channel) == []


def test_a_channel_without_room_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Channel(0)
