import numpy as np
from prometheus_client import CollectorRegistry

from tsnd_daemon.stages import Run, StageHistograms, split
from tsnd_daemon.tracing import intervals, tracing

RUN = Run(1, 2, 10, 14, 3, 17, 20, 22, snippets=8)


def test_intervals_follow_one_another_and_last_as_long_as_the_stages():
    found = intervals(RUN)

    assert [name for name, _, _ in found] == [
        "receive", "queue", "copy", "decode", "queue", "compute", "reply"
    ]  # fmt: skip
    assert [begin for _, begin, _ in found[1:]] == [end for _, _, end in found[:-1]]
    assert (found[0][1], found[-1][2]) == (RUN.received, RUN.written)
    queued = sum(end - begin for name, begin, end in found if name == "queue")
    assert queued == split(np.array([RUN]))[0, 1]


def test_what_took_no_time_is_left_out():
    names = [name for name, _, _ in intervals(RUN._replace(decode=0, start=10))]

    assert names == ["receive", "queue", "copy", "compute", "reply"]


def test_without_an_endpoint_nothing_is_called():
    stages = StageHistograms(CollectorRegistry())
    with tracing(stages, endpoint=None, ratio=1.0):
        assert stages.on_run is None
