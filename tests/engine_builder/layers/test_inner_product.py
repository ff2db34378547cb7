import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError


def multiply(x, weight, bias, axis):
    """Flatten the axes from `axis` on, and multiply each row with each row of the weight."""
    rows = x.astype(np.float64).reshape(*x.shape[:axis], -1)
    out = np.empty((*x.shape[:axis], len(weight)))
    for index in np.ndindex(*x.shape[:axis]):
        for output, row in enumerate(weight):
            out[(*index, output)] = np.dot(rows[index], row) + bias[output]
    return out


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "settings", "axis"),
    [
        ((3, 7), "", 1),
        ((3, 7), "axis: 1", 1),
        ((3, 7), "axis: -1", 1),
        ((3, 4, 2, 5), "", 1),
        ((3, 4, 2, 5), "axis: 2", 2),
        ((3, 4, 2, 5), "axis: 3", 3),
        ((3, 4, 2, 5), "axis: -1", 3),
        ((3, 4, 2, 5), "axis: -3", 1),
        ((2, 3, 2, 2, 3), "axis: 2", 2),
        ((3, 6, 1, 1), "", 1),
    ],
)
def test_all_axes_from_axis_on_are_multiplied(run_layer, shape, settings, axis, has_bias):
    x = random_floats(1, *shape)
    weight = random_floats(2, 5, int(np.prod(shape[axis:])))
    bias = random_floats(3, 5) if has_bias else np.zeros(5)
    switch = "true" if has_bias else "false"

    actual = run_layer(
        "InnerProduct",
        f"inner_product_param {{ num_output: 5 bias_term: {switch} {settings} }}",
        x,
        blobs=[weight, bias] if has_bias else [weight],
    )

    assert max_relative_error(actual, multiply(x, weight, bias, axis)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_any_batch_is_taken(run_layer, batch):
    x, weight, bias = random_floats(1, batch, 3, 2), random_floats(2, 4, 6), random_floats(3, 4)

    actual = run_layer(
        "InnerProduct", "inner_product_param { num_output: 4 }", x, blobs=[weight, bias]
    )

    assert max_relative_error(actual, multiply(x, weight, bias, 1)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("", "num_output is not set"),
        ("num_output: 0", "num_output is not set"),
        ("num_output: 2 axis: 4", r"axis 4 does not exist in a bottom of shape \['N', 3, 4, 4\]"),
        ("num_output: 2 axis: -5", "axis -5 does not exist"),
    ],
)
def test_settings_that_make_no_sense_are_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(InnerProduct\): .*{reason}"):
        load_layer("InnerProduct", f"inner_product_param {{ {settings} }}", (1, 3, 4, 4))


@pytest.mark.parametrize("axis", [0, -4])
def test_the_batch_may_be_flattened_too_but_is_then_fixed(run_layer, load_layer, axis):
    x, weight, bias = random_floats(1, 1, 3, 2, 2), random_floats(2, 4, 12), random_floats(3, 4)
    settings = f"inner_product_param {{ num_output: 4 axis: {axis} }}"

    actual = run_layer("InnerProduct", settings, x, blobs=[weight, bias])

    layer = load_layer("InnerProduct", settings, x.shape, blobs=[weight, bias])
    assert [value.shape for value in (*layer.bottoms, *layer.tops)] == [(1, 3, 2, 2), (4,)]
    assert max_relative_error(actual, multiply(x, weight, bias, 0)) < FLOAT32_TOLERANCE
