import numpy as np
import pytest

from tests.builders import random_floats
from tsnd_builder.errors import LayerError


@pytest.mark.parametrize(
    ("settings", "axis", "shapes"),
    [
        ("", 1, [(2, 3, 4, 5), (2, 1, 4, 5)]),
        ("concat_param { }", 1, [(2, 3), (2, 1), (2, 4)]),
        ("concat_param { axis: 1 }", 1, [(2, 3, 4), (2, 2, 4)]),
        ("concat_param { axis: 2 }", 2, [(2, 3, 4, 5), (2, 3, 1, 5)]),
        ("concat_param { axis: 3 }", 3, [(2, 3, 4, 5), (2, 3, 4, 2)]),
        ("concat_param { axis: -1 }", 3, [(2, 3, 4, 5), (2, 3, 4, 2)]),
        ("concat_param { axis: -3 }", 1, [(2, 3, 4, 5), (2, 1, 4, 5)]),
        ("concat_param { concat_dim: 2 }", 2, [(2, 3, 4, 5), (2, 3, 1, 5)]),
        ("concat_param { axis: 0 }", 0, [(2, 3), (2, 3), (2, 3)]),
    ],
)
def test_bottoms_are_joined_along_the_axis(run_layer, settings, axis, shapes):
    bottoms = [random_floats(seed, *shape) for seed, shape in enumerate(shapes)]

    actual = run_layer("Concat", settings, *bottoms)

    np.testing.assert_array_equal(actual, np.concatenate(bottoms, axis=axis))


def test_lengths_along_the_axis_add_up(load_layer):
    joined = load_layer("Concat", "", (1, 3, 2), (1, 4, 2), (1, 5, 2))

    assert joined.tops[0].shape == ("N", 12, 2)


def test_a_joined_batch_stays_open(load_layer):
    joined = load_layer("Concat", "concat_param { axis: 0 }", (1, 3), (1, 3))

    assert joined.tops[0].shape == ("2N", 3)


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("", [(1, 3)], r"it has 1 bottom\(s\); a Concat takes at least 2"),
        ("", [(1, 3, 4), (1, 3, 5)], "differ elsewhere than in axis 1"),
        ("", [(1, 3, 4), (1, 3)], "differ elsewhere than in axis 1"),
        ("concat_param { axis: 2 }", [(1, 3, 4), (1, 2, 4)], "differ elsewhere than in axis 2"),
        ("concat_param { axis: 3 }", [(1, 3, 4), (1, 3, 4)], "axis 3 does not exist"),
        ("concat_param { axis: 1 concat_dim: 1 }", [(1, 3), (1, 3)], "both axis and concat_dim"),
    ],
)
def test_bottoms_and_axes_that_do_not_fit_are_refused(load_layer, settings, shapes, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Concat\): .*{reason}"):
        load_layer("Concat", settings, *shapes)
