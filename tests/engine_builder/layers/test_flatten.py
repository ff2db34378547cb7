import numpy as np
import pytest

from tests.builders import random_floats
from tsnd_builder.errors import LayerError


@pytest.mark.parametrize(
    ("settings", "flat"),
    [
        ("", (2, 60)),
        ("axis: 1 end_axis: 3", (2, 60)),
        ("axis: 2", (2, 3, 20)),
        ("axis: 3", (2, 3, 4, 5)),
        ("axis: 1 end_axis: 2", (2, 12, 5)),
        ("axis: -3 end_axis: -2", (2, 12, 5)),
        ("axis: 1 end_axis: 1", (2, 3, 4, 5)),
        ("axis: 0 end_axis: 1", (6, 4, 5)),
        ("axis: 0", (120,)),
        ("axis: -4 end_axis: -4", (2, 3, 4, 5)),
    ],
)
def test_the_axes_become_one(run_layer, settings, flat):
    x = random_floats(1, 2, 3, 4, 5)

    actual = run_layer("Flatten", f"flatten_param {{ {settings} }}", x)

    np.testing.assert_array_equal(actual, x.reshape(flat))


@pytest.mark.parametrize(
    ("settings", "shape"),
    [("", ("N", 60)), ("axis: 0", ("60N",)), ("axis: 0 end_axis: 1", ("3N", 4, 5))],
)
def test_the_batch_stays_open(load_layer, settings, shape):
    flatten = load_layer("Flatten", f"flatten_param {{ {settings} }}", (1, 3, 4, 5))

    assert flatten.tops[0].shape == shape


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("axis: 4", "axis 4 does not exist"),
        ("end_axis: 4", "axis 4 does not exist"),
        ("axis: -5", "axis -5 does not exist"),
        ("axis: 2 end_axis: 1", "its axis 2 lies behind its end_axis 1"),
        ("axis: -1 end_axis: -2", "its axis 3 lies behind its end_axis 2"),
    ],
)
def test_axes_that_make_no_range_are_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Flatten\): .*{reason}"):
        load_layer("Flatten", f"flatten_param {{ {settings} }}", (1, 3, 4, 5))
