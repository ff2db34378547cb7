import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError


def normalize(x, *, eps, divides):
    """Centre each channel of each image, and divide it by its deviation + eps."""
    out = x.astype(np.float64)
    for index in np.ndindex(*x.shape[:2]):
        image = out[index]
        out[index] = image - image.mean()
        if divides:
            out[index] /= image.std() + eps
    return out


@pytest.mark.parametrize(
    ("settings", "eps", "divides"),
    [
        ("", 1e-9, True),
        ("normalize_variance: true eps: 0.5", 0.5, True),
        ("normalize_variance: false", 0.0, False),
        ("across_channels: false eps: 0.001", 0.001, True),
    ],
)
@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (2, 4, 1, 6)], ids=str)
def test_each_channel_of_each_image_is_normalized(run_layer, settings, eps, divides, shape):
    x = 2.0 * random_floats(1, *shape) + np.float32(1.0)

    actual = run_layer("MVN", f"mvn_param {{ {settings} }}", x)

    assert max_relative_error(actual, normalize(x, eps=eps, divides=divides)) < FLOAT32_TOLERANCE


def test_an_even_image_becomes_zero(run_layer):
    np.testing.assert_array_equal(run_layer("MVN", "", np.full((2, 3, 2, 2), 4.0, np.float32)), 0.0)


@pytest.mark.parametrize(
    ("settings", "shape", "reason"),
    [
        ("across_channels: true", (1, 3, 4, 4), "across_channels .* reads beyond the end"),
        ("", (1, 3), r"bottom has shape \['N', 3\]; MVN takes 4 axes"),
    ],
)
def test_what_caffe_has_no_defined_result_for_is_refused(load_layer, settings, shape, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(MVN\): .*{reason}"):
        load_layer("MVN", f"mvn_param {{ {settings} }}", shape)
