import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnd_client.flow.stack import FlowField, field_indices, flow_stacks, stack_indices


def field(index):
    """x is the number of the field, y is 100 more."""
    return FlowField(index, np.array([[[index]], [[100 + index]]], np.uint8))


def fields(indices):
    return [field(index) for index in indices]


def test_a_stack_is_five_fields_from_its_tick_on():
    assert stack_indices(3, last=300) == (3, 4, 5, 6, 7)


def test_fields_past_the_last_one_repeat_it():
    assert stack_indices(8, last=10) == (8, 9, 10, 10, 10)


def test_x_and_y_are_interleaved():
    (stack,) = flow_stacks(fields(range(1, 6)), [1], last=9)

    assert stack.index == 1
    assert stack.pixels.shape == (10, 1, 1)
    assert stack.pixels.ravel().tolist() == [1, 101, 2, 102, 3, 103, 4, 104, 5, 105]


def test_each_field_is_asked_for_once():
    ticks = [1, 2, 3, 10, 18, 18]

    needed = field_indices(ticks, last=20)

    assert needed == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 18, 19, 20]


@given(
    st.integers(1, 60).flatmap(
        lambda last: st.tuples(st.just(last), st.lists(st.integers(1, last), max_size=30))
    ),
    st.integers(1, 6),
)
def test_stacks_are_the_same_as_each_made_alone(case, depth):
    last, ticks = case[0], sorted(case[1])
    taken = []

    def come():
        for index in field_indices(ticks, last, depth):
            taken.append(index)
            yield field(index)

    stacks = list(flow_stacks(come(), ticks, last, depth))

    assert [stack.index for stack in stacks] == ticks
    assert taken == sorted(set(taken))
    for stack in stacks:
        alone = [field(index).planes for index in stack_indices(stack.index, last, depth)]
        np.testing.assert_array_equal(stack.pixels, np.concatenate(alone))


def test_a_stack_comes_as_soon_as_its_last_field_is_there():
    coming = iter(fields(range(1, 100)))

    next(flow_stacks(coming, [1, 30], last=99))

    assert next(coming).index == 6


def test_fields_that_no_stack_needs_are_passed_over():
    (stack,) = flow_stacks(fields(range(1, 20)), [7], last=19, depth=2)

    assert stack.pixels.ravel().tolist() == [7, 107, 8, 108]


def test_a_field_that_does_not_come_is_an_error():
    with pytest.raises(ValueError, match=r"fields \[3\] did not come"):
        list(flow_stacks(fields([1, 2, 4, 5]), [1], last=9))


def test_fields_that_end_early_are_an_error():
    with pytest.raises(ValueError, match="ended before those of tick 5"):
        list(flow_stacks(fields(range(1, 8)), [1, 5], last=9))


def test_ticks_must_ascend():
    with pytest.raises(ValueError, match="ascending, got 1 after 2"):
        list(flow_stacks(fields(range(1, 9)), [2, 1], last=9))
