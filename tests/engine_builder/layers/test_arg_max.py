import numpy as np
import pytest

from tests.builders import random_floats
from tsnd_builder.errors import LayerError


def arg_max(x, count, *, with_values):
    """Find the largest values of each row; of equal ones the one behind comes first."""
    out = []
    for row in x.reshape(len(x), -1):
        ranked = sorted(((value, index) for index, value in enumerate(row)), reverse=True)[:count]
        positions = [[index] for _, index in ranked]
        values = [[value] for value, _ in ranked]
        out.append([positions, values] if with_values else [positions])
    return np.array(out, np.float32)


@pytest.mark.parametrize("with_values", [False, True])
@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 2), (4, 2, 3, 2)], ids=str)
def test_the_largest_of_each_row_are_found(run_layer, shape, count, with_values):
    x = random_floats(1, *shape)
    settings = f"argmax_param {{ top_k: {count} out_max_val: {str(with_values).lower()} }}"

    actual = run_layer("ArgMax", settings, x)

    np.testing.assert_array_equal(actual, arg_max(x, count, with_values=with_values))


@pytest.mark.parametrize("with_values", [False, True])
def test_of_equal_values_the_one_behind_comes_first(run_layer, with_values):
    x = np.array([[1, 3, 3, 2, 3], [0, 0, 0, 0, 0], [2, 1, 2, 1, 0]], np.float32)
    settings = f"argmax_param {{ top_k: 3 out_max_val: {str(with_values).lower()} }}"

    actual = run_layer("ArgMax", settings, x)

    assert actual[0, 0].ravel().tolist() == [4, 2, 1]
    np.testing.assert_array_equal(actual, arg_max(x, 3, with_values=with_values))


def test_by_default_it_is_the_position_of_the_largest(run_layer):
    x = random_floats(1, 5, 7)

    np.testing.assert_array_equal(run_layer("ArgMax", "", x).ravel(), x.argmax(axis=1))


@pytest.mark.parametrize("count", [0, 7])
def test_more_values_than_a_row_has_are_refused(load_layer, count):
    with pytest.raises(LayerError, match=rf"top_k {count} must be from 1 to the row's length 6"):
        load_layer("ArgMax", f"argmax_param {{ top_k: {count} }}", (1, 3, 2))
