import numpy as np
import pytest

from tests.builders import graph_of, layer, net, random_floats, run_net
from tsnd_builder.errors import LayerError


def slice_net(settings, shape, tops):
    names = " ".join(f"out{index}" for index in range(tops))
    return net(layer("it", "Slice", "data", names, f"slice_param {{ {settings} }}"), data=shape)


@pytest.mark.parametrize(
    ("settings", "axis", "shape", "edges"),
    [
        ("", 1, (3, 6), [0, 3, 6]),
        ("", 1, (2, 6, 4, 5), [0, 2, 4, 6]),
        ("", 1, (2, 6), [0, 6]),
        ("slice_point: 1", 1, (3, 6), [0, 1, 6]),
        ("slice_point: [1, 4]", 1, (3, 6, 2), [0, 1, 4, 6]),
        ("axis: 2", 2, (3, 2, 4), [0, 2, 4]),
        ("axis: -1 slice_point: 3", 2, (3, 2, 4), [0, 3, 4]),
        ("axis: -2", 1, (3, 2, 4), [0, 1, 2]),
        ("slice_dim: 2", 2, (3, 2, 4, 5), [0, 1, 2, 3, 4]),
    ],
)
def test_the_axis_is_cut_at_the_points_or_into_equal_parts(tmp_path, settings, axis, shape, edges):
    x, tops = random_floats(1, *shape), len(edges) - 1

    actual = run_net(tmp_path, slice_net(settings, (1, *shape[1:]), tops), {"data": x})

    for index in range(tops):
        part = np.take(x, range(edges[index], edges[index + 1]), axis=axis)
        np.testing.assert_array_equal(actual[f"out{index}"], part)


@pytest.mark.parametrize("settings", ["axis: 0", "axis: -2", "slice_dim: 0 slice_point: 1"])
def test_along_the_batch_it_converts_for_the_prototxts_batch_size(tmp_path, settings):
    x = random_floats(1, 4, 3)
    cut = 1 if "point" in settings else 2

    actual = run_net(tmp_path, slice_net(settings, (4, 3), 2), {"data": x})

    np.testing.assert_array_equal(actual["out0"], x[:cut])
    np.testing.assert_array_equal(actual["out1"], x[cut:])


@pytest.mark.parametrize(
    ("settings", "tops", "reason"),
    [
        ("", 4, "its axis of 6 does not divide into 4 equal parts"),
        ("slice_point: 2", 3, r"slice points \[2\] do not cut an axis of 6 into 3 parts"),
        ("slice_point: [2, 4]", 2, r"slice points \[2, 4\] do not cut"),
        ("slice_point: [4, 2]", 3, "in rising order"),
        ("slice_point: [2, 2]", 3, "do not cut an axis"),
        ("slice_point: 6", 2, "do not cut an axis of 6 into 2 parts"),
        ("slice_point: 7", 2, "do not cut an axis of 6 into 2 parts"),
        ("slice_point: 0", 2, "do not cut an axis of 6 into 2 parts"),
        ("axis: 2", 2, "axis 2 does not exist"),
        ("axis: -3", 2, "axis -3 does not exist"),
        ("axis: 1 slice_dim: 1", 2, "both axis and slice_dim; keep axis"),
        ("", 0, r"it has 0 top\(s\), expected at least 1"),
    ],
)
def test_points_and_tops_that_do_not_fit_are_refused(tmp_path, settings, tops, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Slice\): .*{reason}"):
        graph_of(tmp_path, slice_net(settings, (1, 6), tops))
