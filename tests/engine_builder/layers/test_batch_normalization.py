import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError, WeightsError

MEAN, VARIANCE = random_floats(1, 4), np.abs(random_floats(2, 4)) + 0.5


def normalize(x, mean, variance, *, factor, eps):
    """Normalize each channel (axis 1); a factor of 0 makes mean and variance 0."""
    weight = 0.0 if factor == 0 else 1.0 / factor
    out = np.empty(x.shape)
    for channel in range(x.shape[1]):
        centred = x[:, channel].astype(np.float64) - mean[channel] * weight
        out[:, channel] = centred / np.sqrt(variance[channel] * weight + eps)
    return out


@pytest.mark.parametrize("factor", [1.0, 999.5, 0.25])
@pytest.mark.parametrize(
    ("settings", "eps"),
    [
        ("", 1e-5),
        ("use_global_stats: true", 1e-5),
        ("eps: 0.001 moving_average_fraction: 0.9", 1e-3),
    ],
)
@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3), (3, 4, 5, 2), (2, 4, 2, 2, 2)], ids=str)
def test_stored_sums_are_divided_by_the_factor(run_layer, shape, settings, eps, factor):
    x = random_floats(3, *shape)
    blobs = [MEAN * factor, VARIANCE * factor, np.array([factor])]

    actual = run_layer("BatchNorm", f"batch_norm_param {{ {settings} }}", x, blobs=blobs)

    expected = normalize(x, MEAN * factor, VARIANCE * factor, factor=factor, eps=eps)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_a_factor_of_zero_leaves_only_eps(run_layer):
    x = random_floats(3, 2, 4)

    actual = run_layer("BatchNorm", "", x, blobs=[MEAN, VARIANCE, np.zeros(1)])

    expected = normalize(x, MEAN, VARIANCE, factor=0.0, eps=1e-5)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "shape", "reason"),
    [
        ("use_global_stats: false", (1, 4), "use_global_stats is false.*remove it or set it to"),
        ("eps: 0", (1, 4), "its eps is 0; it must be positive"),
        ("eps: -1", (1, 4), "its eps is -1; it must be positive"),
        ("", (1,), r"bottom has shape \['N'\]; BatchNorm needs a channel axis"),
    ],
)
def test_settings_that_no_deployed_net_can_have_are_refused(load_layer, settings, shape, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(BatchNorm\): .*{reason}"):
        load_layer("BatchNorm", f"batch_norm_param {{ {settings} }}", shape)


@pytest.mark.parametrize(
    "blobs", [[np.ones(4)] * 2, [np.ones(4)] * 3, [np.ones((1, 4)), np.ones((1, 4)), np.ones(1)]]
)
def test_blobs_of_another_shape_or_number_are_refused(load_layer, blobs):
    with pytest.raises(WeightsError, match=r"its settings ask for \[4\], \[4\], \[1\]"):
        load_layer("BatchNorm", "", (1, 4), blobs=blobs)


def test_without_weights_it_is_refused(load_layer):
    with pytest.raises(WeightsError, match=r"\(BatchNorm\): it needs weights .*give --weights"):
        load_layer("BatchNorm", "", (1, 4))


def test_a_negative_variance_is_refused(run_layer):
    blobs = [np.zeros(3), np.array([1.0, -1.0, 1.0]), np.ones(1)]

    with pytest.raises(WeightsError, match=r"BatchNorm.*variance has the value -1"):
        run_layer("BatchNorm", "", random_floats(1, 2, 3, 4, 4), blobs=blobs)
