import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError

OPERATIONS = {
    "SUM": lambda row: row.sum(),
    "ASUM": lambda row: np.abs(row).sum(),
    "SUMSQ": lambda row: (row**2).sum(),
    "MEAN": lambda row: row.mean(),
}


def reduce(x, operation, axis, coeff):
    """Reduce all axes from `axis` on."""
    out = np.empty(x.shape[:axis])
    for index in np.ndindex(*out.shape):
        out[index] = coeff * OPERATIONS[operation](x[index].astype(np.float64))
    return out


@pytest.mark.parametrize("coeff", [1.0, -2.5])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3, 4), 1), ((3, 4), -1), *(((2, 3, 4, 5), axis) for axis in (1, 2, 3, -1, -3))],
)
def test_all_axes_from_axis_on_are_reduced(run_layer, shape, axis, operation, coeff):
    x = random_floats(1, *shape)
    settings = f"reduction_param {{ operation: {operation} coeff: {coeff} axis: {axis} }}"

    actual = run_layer("Reduction", settings, x)

    expected = reduce(x, operation, axis % len(shape), coeff)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("axis", ["", "axis: 0", "axis: -2"])
def test_the_batch_may_be_reduced_too_to_a_single_number(run_layer, operation, axis):
    x = random_floats(1, 1, 6)

    actual = run_layer("Reduction", f"reduction_param {{ operation: {operation} {axis} }}", x)

    assert actual.shape == ()
    assert max_relative_error(actual, reduce(x, operation, 0, 1.0)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("operation: TOPK axis: 1", "TOPK belongs to BatchReduction"),
        ("axis: 2", "axis 2 does not exist"),
        ("axis: -3", "axis -3 does not exist"),
    ],
)
def test_what_caffe_refuses_is_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Reduction\): .*{reason}"):
        load_layer("Reduction", f"reduction_param {{ {settings} }}", (1, 6))
