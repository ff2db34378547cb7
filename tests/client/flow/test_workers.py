import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children

import numpy as np
import pytest

from tests.client.flow.videos import moving_frame
from tsnd_client.errors import FlowFailed
from tsnd_client.flow.algorithms import Algorithm, make_method
from tsnd_client.flow.quantise import quantise
from tsnd_client.flow.workers import FlowPool

PAIRS = [(moving_frame(index), moving_frame(index + step)) for index, step in enumerate([1, 2] * 6)]


@pytest.fixture(scope="module")
def pool():
    with FlowPool(Algorithm.FARNEBACK, workers=2) as pool:
        yield pool


def alone(earlier, later, bound=20.0):
    flow = make_method(Algorithm.FARNEBACK)(earlier, later)
    return quantise(flow, bound).transpose(2, 0, 1)


def test_fields_come_in_the_order_of_their_pairs_as_if_computed_here(pool):
    fields = list(pool.fields(PAIRS))

    assert len(fields) == len(PAIRS)
    for field, pair in zip(fields, PAIRS, strict=True):
        np.testing.assert_array_equal(field, alone(*pair))


def test_few_pairs_are_taken_ahead_of_what_is_yielded(pool):
    taken = []

    def pairs():
        for pair in PAIRS:
            taken.append(pair)
            yield pair

    fields = pool.fields(pairs())
    next(fields)

    assert len(taken) == 4
    fields.close()


def test_several_threads_may_use_a_pool(pool):
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda _: list(pool.fields(PAIRS)), range(3)))

    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_frames_of_different_sizes_are_an_error_that_spares_the_pool(pool):
    with pytest.raises(FlowFailed, match=r"\(80, 64\) and \(80, 65\) pixels"):
        list(pool.fields([(np.zeros((64, 80), np.uint8), np.zeros((65, 80), np.uint8))]))

    assert len(list(pool.fields(PAIRS[:1]))) == 1


def test_a_worker_that_dies_is_an_error():
    with FlowPool(Algorithm.DIS, workers=1) as pool:
        before = set(active_children())
        fields = pool.fields(PAIRS * 100)
        next(fields)
        (worker,) = set(active_children()) - before
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)

        with pytest.raises(FlowFailed, match="one of the 1 processes that compute flow ended"):
            list(fields)


def test_closing_leaves_no_process_behind():
    before = set(active_children())
    with FlowPool(Algorithm.DIS, workers=2) as pool:
        next(pool.fields(PAIRS))

    assert set(active_children()) == before


PARENT = """
import sys, time
from multiprocessing import active_children
import numpy as np
from tsnd_client.flow.algorithms import Algorithm
from tsnd_client.flow.workers import FlowPool

if __name__ == "__main__":
    pool = FlowPool(Algorithm.DIS, workers=1)
    frame = np.zeros((64, 80), np.uint8)
    next(pool.fields([(frame, frame)]))
    print(*(child.pid for child in active_children()), flush=True)
    sys.stdin.read()
"""


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        watched = os.pidfd_open(worker)
        parent.kill()

    with os.fdopen(watched) as ended:
        assert wait_for_end(ended, timeout_s=20)


def wait_for_end(pidfd, timeout_s):
    readable, _, _ = select.select([pidfd], [], [], timeout_s)
    return bool(readable)


def test_a_pool_without_workers_is_refused():
    with pytest.raises(ValueError, match="greater than 0"):
        FlowPool(Algorithm.DIS, workers=0)


def test_the_bound_reaches_the_workers():
    with FlowPool(Algorithm.FARNEBACK, workers=1, bound=8.0) as pool:
        (field,) = pool.fields(PAIRS[:1])

    np.testing.assert_array_equal(field, alone(*PAIRS[0], bound=8.0))
