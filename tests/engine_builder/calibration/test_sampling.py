from pathlib import Path

import numpy as np
import pytest

from tsnd_builder.calibration.sampling import snippet_ticks, stack_indices

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "tsn" / "snippets"


# 25 snippets; the steps are floor((count - depth) / 24).
@pytest.mark.parametrize(
    ("count", "depth", "step"),
    [
        (1, 1, 0),
        (24, 1, 0),
        (25, 1, 1),
        (48, 1, 1),
        (49, 1, 2),
        (300, 1, 12),
        (1999, 1, 83),
        (1, 5, 0),
        (4, 5, 0),
        (28, 5, 0),
        (29, 5, 1),
        (53, 5, 2),
        (300, 5, 12),
        (1999, 5, 83),
    ],
)
def test_snippets_start_where_tsn_starts_them(count, depth, step):
    ticks = snippet_ticks(count, stack_depth=depth)

    assert ticks == tuple(1 + step * place for place in range(25))


def test_other_numbers_of_snippets_follow_the_same_rule():
    assert snippet_ticks(31, stack_depth=1, snippets=2) == (1, 31)
    assert snippet_ticks(31, stack_depth=5, snippets=3) == (1, 14, 27)


def test_a_single_snippet_is_the_first():
    assert snippet_ticks(300, stack_depth=1, snippets=1) == (1,)


def test_a_stack_has_consecutive_fields():
    assert stack_indices(25, count=29, stack_depth=5) == (25, 26, 27, 28, 29)


def test_a_stack_repeats_the_last_field_of_a_short_video():
    assert stack_indices(1, count=3, stack_depth=5) == (1, 2, 3, 3, 3)
    assert stack_indices(1, count=1, stack_depth=5) == (1, 1, 1, 1, 1)


@pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the full golden data does not lie beside this repository"
)
def test_snippets_of_every_length_are_those_of_tsn():
    with np.load(GOLDEN / "snippets.npz") as golden:
        counts, rgb, flow = golden["n"], golden["caffe_rgb_ticks"], golden["caffe_flow_ticks"]
        stacks = golden["caffe_flow_stack"]
    for count, *expected in zip(counts.tolist(), rgb, flow, stacks, strict=True):
        ticks = snippet_ticks(count, stack_depth=5)
        stack = [stack_indices(tick, count=count, stack_depth=5) for tick in ticks]

        assert np.array_equal(snippet_ticks(count, stack_depth=1), expected[0]), count
        assert np.array_equal(ticks, expected[1]), count
        assert np.array_equal(stack, expected[2]), count
