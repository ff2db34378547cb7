import numpy as np

from tsnd_client.sampling import needed, stack_at
from tsnd_client.videos.stacking import Stacker


def planes(field):
    """x is the field's number, y that and 100."""
    return np.stack(
        [np.full((2, 3), field % 100, np.uint8), np.full((2, 3), field % 100 + 100, np.uint8)]
    )


def stacked(ticks, frames):
    stacks = {tick: stack_at(tick, frames) for tick in ticks}
    stacker = Stacker(stacks)
    return [pair for field in needed(stacks.values()) for pair in stacker.add(field, planes(field))]


def test_planes_are_interleaved_x_before_y():
    ((tick, pixels),) = stacked([3], 99)

    assert tick == 3
    assert (pixels.shape, pixels.dtype) == ((10, 2, 3), np.uint8)
    assert pixels[:, 0, 0].tolist() == [3, 103, 4, 104, 5, 105, 6, 106, 7, 107]


def test_stacks_that_overlap_share_their_fields():
    found = {tick: pixels[::2, 0, 0].tolist() for tick, pixels in stacked([1, 3, 20], 99)}

    assert found == {1: [1, 2, 3, 4, 5], 3: [3, 4, 5, 6, 7], 20: [20, 21, 22, 23, 24]}


def test_stacks_at_the_end_repeat_the_last_field():
    found = {tick: pixels[::2, 0, 0].tolist() for tick, pixels in stacked([1, 2], 2)}

    assert found == {1: [1, 2, 2, 2, 2], 2: [2, 2, 2, 2, 2]}


def test_fields_that_no_stack_needs_any_more_are_let_go():
    stacks = {tick: stack_at(tick, 1000) for tick in range(1, 900, 6)}
    stacker = Stacker(stacks)
    most = 0
    for field in needed(stacks.values()):
        list(stacker.add(field, planes(field)))
        most = max(most, len(stacker._fields))

    assert most <= 5
