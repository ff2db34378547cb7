import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError, WeightsError


def prelu(x, slopes):
    """Scale the negative values of each channel (axis 1) by its slope."""
    out = x.astype(np.float64)
    for channel, slope in enumerate(slopes):
        negative = np.minimum(x[:, channel].astype(np.float64), 0.0)
        out[:, channel] = np.maximum(x[:, channel], 0.0) + slope * negative
    return out


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3), (3, 4, 5, 2), (2, 4, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("is_shared", [False, True])
def test_negative_values_are_scaled_by_the_learned_slope(run_layer, shape, is_shared):
    x = random_floats(1, *shape)
    slopes = random_floats(2) if is_shared else random_floats(2, 4)
    settings = f"prelu_param {{ channel_shared: {str(is_shared).lower()} filler {{ value: 9 }} }}"

    actual = run_layer("PReLU", settings, x, blobs=[slopes])

    expected = prelu(x, np.broadcast_to(slopes, 4))
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "slopes", "shape"),
    [
        ("", np.ones((1, 4)), r"\[4\]"),
        ("", np.ones(3), r"\[4\]"),
        ("", np.ones(1), r"\[4\]"),
        ("channel_shared: true", np.ones(4), r"\[\]"),
        ("channel_shared: true", np.ones(1), r"\[\]"),
    ],
)
def test_slopes_of_another_shape_are_refused(load_layer, settings, slopes, shape):
    with pytest.raises(WeightsError, match=rf"\(PReLU\).*its settings ask for {shape}"):
        load_layer("PReLU", f"prelu_param {{ {settings} }}", (1, 4, 2), blobs=[slopes])


def test_without_weights_it_is_refused(load_layer):
    with pytest.raises(WeightsError, match=r"it needs weights of shapes \[4\]; give --weights"):
        load_layer("PReLU", "", (1, 4))


def test_a_bottom_without_channels_is_refused(load_layer):
    with pytest.raises(LayerError, match=r"\(PReLU\): .*\['N'\]; PReLU needs a channel axis"):
        load_layer("PReLU", "", (1,), blobs=[np.ones(1)])
