"""Flow in several processes: pairs of frames go in, quantised fields come out in their order.

Each process computes with one thread: two processes of one thread do more than one of two,
see docs/flow.md. They are spawned, not forked, since gRPC does not survive a fork. A frame of
340 x 256 is 87 KB, so pickling one costs nothing beside the flow of it.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from tsnd_client.closing import Closing
from tsnd_client.errors import FlowFailed
from tsnd_client.flow.algorithms import Algorithm, FlowMethod, make_method
from tsnd_client.flow.quantise import BOUND, quantise
from tsnd_client.images import Pixels, cv2

_WAITING_PER_WORKER = 2  # one is computed, one is ready to be

_method: FlowMethod | None = None  # of this process, when it is a worker
_bound = BOUND


def usable_cpus() -> int:
    """Count the processors that this process may run on."""
    return len(os.sched_getaffinity(0))


class FlowPool(Closing):
    """Processes that compute flow; several threads may use it at a time.

    They are started when they are first needed. Programs that use it need their
    `if __name__ == "__main__":`, as for everything that is spawned.

    Args:
        algorithm: How flow is computed.
        workers: How many processes; None: one for each processor.
        bound: The largest displacement to tell apart, pixels.

    Raises:
        ValueError: `workers` is less than 1.
        MissingExtra: OpenCV lacks the algorithm.
    """

    def __init__(
        self,
        algorithm: Algorithm = Algorithm.TVL1,
        workers: int | None = None,
        bound: float = BOUND,
    ) -> None:
        make_method(algorithm)
        self.algorithm = algorithm
        self.bound = bound
        self.workers = usable_cpus() if workers is None else workers
        self._pool = ProcessPoolExecutor(
            self.workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(algorithm, bound),
        )

    def fields(self, pairs: Iterable[tuple[Pixels, Pixels]]) -> Generator[Pixels, None, None]:
        """Compute the flow of pairs of grey frames.

        Args:
            pairs: Earlier and later frame, uint8 [H, W]. They are taken as they are needed,
                few ahead of what is yielded.

        Yields:
            uint8 [2, H, W], x and y, one per pair and in their order.

        Raises:
            FlowFailed: A process ended, or OpenCV refused the frames.
        """
        waiting: deque[Future[Pixels]] = deque()
        try:
            for earlier, later in pairs:
                waiting.append(self._pool.submit(_compute, earlier, later))
                if len(waiting) >= _WAITING_PER_WORKER * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as err:
            raise FlowFailed(
                f"one of the {self.workers} processes that compute flow ended, for lack of memory "
                "or by a signal. Start again, with fewer workers if memory was short."
            ) from err
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the processes, once each is done with the pair that it has."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(algorithm: Algorithm, bound: float) -> None:
    global _method, _bound
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us, in order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _method, _bound = make_method(algorithm), bound


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed: nobody would ever send more."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _compute(earlier: Pixels, later: Pixels) -> Pixels:
    if _method is None:
        raise FlowFailed("flow is computed in worker processes only")
    try:
        flow = _method(earlier, later)
    except cv2.error as err:
        raise FlowFailed(
            f"OpenCV computes no flow between frames of {earlier.shape[::-1]} and "
            f"{later.shape[::-1]} pixels: {err}"
        ) from None  # cv2.error does not survive the way between processes
    return quantise(flow, _bound).transpose(2, 0, 1)
