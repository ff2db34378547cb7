import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError


@pytest.mark.parametrize(
    ("settings", "slope"),
    [
        ("", 0.0),
        ("relu_param { }", 0.0),
        ("relu_param { negative_slope: 0 engine: CUDNN }", 0.0),
        ("relu_param { negative_slope: 0.1 }", 0.1),
        ("relu_param { negative_slope: 2 }", 2.0),
        ("relu_param { negative_slope: -1 }", -1.0),
    ],
)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4, 5)], ids=str)
def test_the_negative_side_is_scaled_by_its_slope(run_layer, shape, settings, slope):
    x = random_floats(1, *shape)

    actual = run_layer("ReLU", settings, x)

    expected = np.maximum(x, 0) + np.float32(slope) * np.minimum(x, 0)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_a_second_bottom_is_refused(load_layer):
    with pytest.raises(LayerError, match=r"'it' \(ReLU\): it has 2 bottom\(s\); a ReLU takes 1"):
        load_layer("ReLU", "", (1, 3), (1, 3))
