import re

import numpy as np
import pytest

from tests.client import golden
from tsnd_client import sampling
from tsnd_client.flow.stack import stack_indices

DEPTHS = {"rgb": 1, "flow": 5, "RGB": 1, "Flow": 5, "RGBDiff": 6}


def test_the_caffe_rule_steps_by_a_floored_integer():
    assert sampling.tsn_ticks(300)[:3] == [1, 13, 25]
    assert sampling.tsn_ticks(300)[-1] == 1 + 24 * 12
    assert sampling.tsn_ticks(25) == list(range(1, 26))


@pytest.mark.parametrize(("frames", "depth"), [(1, 1), (24, 1), (28, 5), (3, 5)])
def test_the_caffe_rule_judges_a_short_video_from_its_first_frame(frames, depth):
    assert sampling.tsn_ticks(frames, depth) == [1] * 25


def test_the_pytorch_rule_takes_the_middles_of_segments():
    assert sampling.tsn_pytorch_ticks(300)[:3] == [7, 19, 31]
    assert sampling.tsn_pytorch_ticks(10, snippets=2) == [3, 8]


def test_dense_ticks_leave_out_the_last_snippet_as_ssn_does():
    assert sampling.dense_ticks(19, 6) == [1, 7, 13]
    assert sampling.dense_ticks(20, 6) == [1, 7, 13, 19]
    assert sampling.dense_ticks(20, 6, depth=5, start=2) == [2, 8, 14]
    assert sampling.dense_ticks(5, 6, depth=5) == []


def test_the_demo_counts_frames_from_0_and_takes_whole_snippets():
    assert sampling.demo_2016_ticks(36, length=6) == [0, 30]
    assert sampling.demo_2016_ticks(35, length=6) == [0]
    assert sampling.demo_2016_ticks(0) == []


def test_frames_are_taken_at_a_rate_whatever_the_cameras_is():
    times_s = [index / 30 for index in range(30)]

    taken = [index for index, due in enumerate(sampling.at_rate(times_s, 10)) if due]

    assert taken == list(range(0, 30, 3))


def test_a_slow_camera_gives_every_frame_and_a_jump_in_time_begins_anew():
    assert list(sampling.at_rate([0.0, 0.5, 1.0], 10)) == [True] * 3
    assert list(sampling.at_rate([5.0, 5.01, 0.0, 0.01], 10)) == [True, False, True, False]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: sampling.tsn_ticks(0), "frames"),
        (lambda: sampling.tsn_ticks(10, snippets=1), "snippets"),
        (lambda: sampling.tsn_pytorch_ticks(10, depth=0), "depth"),
        (lambda: sampling.dense_ticks(10, 0), "interval"),
        (lambda: sampling.dense_ticks(-1, 6), "frames"),
        (lambda: sampling.dense_ticks(10, 6, start=0), "start"),
        (lambda: sampling.demo_2016_ticks(10, interval=0), "interval"),
        (lambda: sampling.at_rate([], float("nan")), "per_s"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(call, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        call()


def test_every_array_of_the_original_code_is_met_exactly():
    for file, found in golden.arrays("snippets").items():
        frames = found.pop("n").tolist()
        for name, expected in found.items():
            rule = _array_rule(name)
            actual = [rule(count) for count in frames]
            np.testing.assert_array_equal(actual, expected, err_msg=f"{file}: {name}")


def test_every_other_list_of_the_original_code_is_met_exactly():
    for file, found in golden.records("snippets").items():
        for name, cases in found.items():
            rule = _list_rule(name)
            for count, expected in cases.items():
                assert rule(int(count)) == expected, (file, name, count)


def _array_rule(name):
    """What a golden array holds for a video of so many frames; an unknown name fails."""
    if match := re.fullmatch(r"caffe_(rgb|flow)_ticks", name):
        return lambda count: sampling.tsn_ticks(count, DEPTHS[match[1]])
    if name == "caffe_flow_stack":
        return lambda count: [stack_indices(tick, count) for tick in sampling.tsn_ticks(count, 5)]
    if match := re.fullmatch(r"pytorch_(RGB|Flow|RGBDiff)_ticks", name):
        return lambda count: sampling.tsn_pytorch_ticks(count, DEPTHS[match[1]])
    if match := re.fullmatch(r"ssn_(rgb|flow)_interval(\d+)_(count|last)", name):
        summary = len if match[3] == "count" else lambda ticks: ticks[-1] if ticks else 0
        return lambda count: summary(sampling.dense_ticks(count, int(match[2]), DEPTHS[match[1]]))
    match = re.fullmatch(r"anet2016_len(\d+)_count", name)
    assert match, f"no rule is known for {name}"
    return lambda count: len(sampling.demo_2016_ticks(count, int(match[1])))


def _list_rule(name):
    if match := re.fullmatch(r"caffe_(rgb|flow)_num(\d+)", name):
        return lambda count: sampling.tsn_ticks(count, DEPTHS[match[1]], int(match[2]))
    match = re.fullmatch(r"anet2016_iter_len(\d+)_interval(\d+)_n", name)
    assert match, f"no rule is known for {name}"
    length, interval = int(match[1]), int(match[2])
    return lambda count: [
        list(range(start, start + length))
        for start in sampling.demo_2016_ticks(count, length, interval)
    ]
