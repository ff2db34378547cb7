"""Work done ahead of its use, in a thread of its own, and not further ahead than is said."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Value(Generic[Item]):
    value: Item


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


@contextmanager
def read_ahead(items: Iterable[Item], max_items: int = 8) -> Iterator[Iterator[Item]]:
    """Take items in another thread while those before them are used.

    The thread ends with the block, as soon as the item that it is taking is there; then a
    generator is closed in the thread that ran it.

    Args:
        items: Where they come from; used by the other thread alone.
        max_items: Most of them to wait for their use; one more may be in the making.

    Yields:
        The same items in the same order; an error comes where its item would have come.

    Raises:
        ValueError: `max_items` is less than 1.
    """
    if max_items < 1:
        raise ValueError(f"max_items must be at least 1, got {max_items}")
    made: queue.Queue[_Value[Item] | _End] = queue.Queue()
    room = threading.Semaphore(max_items)
    is_over = threading.Event()

    def make() -> None:
        iterator = iter(items)
        error = None
        try:
            while room.acquire() and not is_over.is_set():
                made.put(_Value(next(iterator)))
        except StopIteration:
            pass
        except BaseException as err:  # noqa: BLE001 -- it is raised where the items are used
            error = err
        finally:
            close = getattr(iterator, "close", None)
            if close:
                close()
            made.put(_End(error))

    def use() -> Iterator[Item]:
        while isinstance(item := made.get(), _Value):
            room.release()
            yield item.value
        made.put(item)  # whoever asks again gets the same answer
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield use()
    finally:
        is_over.set()
        room.release()
        thread.join()
