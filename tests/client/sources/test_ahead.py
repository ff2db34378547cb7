import threading

import pytest

from tsnd_client.sources.ahead import read_ahead


def test_items_come_in_order():
    with read_ahead(range(100), max_items=3) as items:
        assert list(items) == list(range(100))


def test_no_more_than_the_limit_is_made_ahead():
    made = threading.Semaphore(0)
    count = 0

    def make():
        nonlocal count
        for count in range(1, 101):
            made.release()
            yield count

    with read_ahead(make(), max_items=3) as items:
        for _ in range(3):
            assert made.acquire(timeout=10)
        assert not made.acquire(timeout=0.05)  # a fourth would wait for room
        assert next(items) == 1
        assert made.acquire(timeout=10)
        assert not made.acquire(timeout=0.05)

    assert count == 4


def test_items_are_made_in_another_thread():
    with read_ahead(threading.get_ident() for _ in range(2)) as items:
        assert threading.get_ident() not in items


def test_an_error_comes_where_its_item_would_have_come():
    def make():
        yield 1
        raise KeyError("two")

    with read_ahead(make()) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="two"):
            next(items)


def test_leaving_early_closes_what_makes_items_and_ends_the_thread():
    closed_in = []

    def make():
        try:
            while True:
                yield 1
        finally:
            closed_in.append(threading.current_thread().name)

    with read_ahead(make(), max_items=2) as items:
        next(items)

    assert closed_in == ["read-ahead"]
    assert "read-ahead" not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_user_is_not_hidden():
    with pytest.raises(ZeroDivisionError), read_ahead(iter(int, 1)) as items:
        next(items)
        raise ZeroDivisionError


def test_a_limit_of_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"), read_ahead([], max_items=0):
        pass
