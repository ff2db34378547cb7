import numpy as np
import pytest

from tests.builders import graph_of, layer, net, random_floats, run_net
from tsnd_builder.errors import LayerError


def reshape_with(dims, others=""):
    return f"reshape_param {{ shape {{ dim: {list(dims)} }} {others} }}"


@pytest.mark.parametrize(
    ("dims", "others", "shape"),
    [
        ([0, 60], "", (4, 60)),
        ([0, -1], "", (4, 60)),
        ([-1, 60], "", (4, 60)),
        ([0, 0, -1], "", (4, 3, 20)),
        ([0, 5, 12], "", (4, 5, 12)),
        ([0, 0, 0, 0], "", (4, 3, 4, 5)),
        ([0, 1, 3, 4, 5], "", (4, 1, 3, 4, 5)),
        ([-1], "", (240,)),
        ([-1, 5], "", (48, 5)),
        ([-1, 0], "", (80, 3)),
        ([12, 5], "axis: 1", (4, 12, 5)),
        ([-1], "axis: 1", (4, 60)),
        ([6, -1], "axis: 1 num_axes: 2", (4, 6, 2, 5)),
        ([0, -1, 2], "axis: 1 num_axes: 2", (4, 3, 2, 2, 5)),
        ([20], "axis: -3", (4, 3, 20)),
        ([1], "axis: 1 num_axes: 0", (4, 1, 3, 4, 5)),
        ([1, 1], "axis: -1 num_axes: 0", (4, 3, 4, 5, 1, 1)),
        ([], "axis: 1 num_axes: 0", (4, 3, 4, 5)),
        ([-1], "num_axes: 2", (12, 4, 5)),
        ([1], "axis: 0 num_axes: 0", (1, 4, 3, 4, 5)),
    ],
)
def test_a_range_of_axes_gets_a_new_shape_and_the_batch_stays_open(run_layer, dims, others, shape):
    x = random_floats(1, 4, 3, 4, 5)

    actual = run_layer("Reshape", reshape_with(dims, others), x)

    np.testing.assert_array_equal(actual, x.reshape(shape))


@pytest.mark.parametrize(
    ("dims", "shape"), [([-1, 60], ("N", 60)), ([-1, 5], ("12N", 5)), ([0, 6, -1], ("N", 6, 10))]
)
def test_open_lengths_are_multiples_of_the_batch(load_layer, dims, shape):
    assert load_layer("Reshape", reshape_with(dims), (1, 3, 4, 5)).tops[0].shape == shape


@pytest.mark.parametrize(
    ("dims", "shape"), [([6, 6], (6, 6)), ([2, -1], (2, 18)), ([-1, 12], (3, 12))]
)
def test_a_shape_that_joins_rows_or_names_their_number_fixes_the_batch(tmp_path, dims, shape):
    x = random_floats(1, 6, 6)
    text = net(layer("it", "Reshape", "data", "out", reshape_with(dims)), data=(6, 6))

    graph = graph_of(tmp_path, text)
    actual = run_net(tmp_path, text, {"data": x})["out"]

    assert graph.inputs[0].shape == (6, 6)
    np.testing.assert_array_equal(actual, x.reshape(shape))


@pytest.mark.parametrize(
    ("dims", "others", "reason"),
    [
        ([0, -1, -1], "", "more than one -1"),
        ([0, -2], "", "its shape has the length -2; use a length, 0 or -1"),
        ([0, 7], "", r"shape \['N', 3, 4, 5\] cannot be reshaped to \['N', 7\]"),
        ([0, 7, -1], "", r"shape \['N', 3, 4, 5\] cannot be reshaped to \['N', 7, -1\]"),
        ([0, 0, 0, 0, 0], "", "its shape copies axis 4"),
        ([1], "axis: 5", "its axis 5 and num_axes -1 do not lie in"),
        ([1], "axis: -6", "its axis -6 and num_axes -1 do not lie in"),
        ([1], "axis: 1 num_axes: 4", "its axis 1 and num_axes 4 do not lie in"),
        ([1], "axis: 1 num_axes: -2", "its axis 1 and num_axes -2 do not lie in"),
        ([], "", "cannot be reshaped to"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(load_layer, dims, others, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Reshape\): .*{reason}"):
        load_layer("Reshape", reshape_with(dims, others), (1, 3, 4, 5))
