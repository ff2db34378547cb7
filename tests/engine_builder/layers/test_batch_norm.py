from dataclasses import replace

import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    bn_blobs,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
    write_prototxt,
    write_weights,
)
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import LayerError, WeightsError
from tsnd_builder.layers.batch_norm import BNStorage, scale_and_shift

BN = net(layer("bn", "BN", "data", "bn", "bn_param { eps: 1e-3 }"), data=(1, 3))


def normalize(x, blobs, eps):
    """Normalize each channel (axis 1) of x with slope, bias, mean and variance."""
    slope, bias, mean, variance = blobs
    out = np.empty(x.shape)
    for channel in range(x.shape[1]):
        deviation = np.sqrt(variance[0, channel] + eps)
        centred = x[:, channel].astype(np.float64) - mean[0, channel]
        out[:, channel] = slope[0, channel] * centred / deviation + bias[0, channel]
    return out


@pytest.mark.parametrize(
    ("settings", "eps"),
    [
        ("", 1e-5),
        ("bn_param { }", 1e-5),
        ("bn_param { frozen: true momentum: 0.5 }", 1e-5),
        ("bn_param { eps: 1e-3 }", 1e-3),
        ("bn_param { eps: 2 engine: CUDNN }", 2.0),
    ],
)
@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 5, 6), (2, 4, 3, 2, 2)], ids=str)
def test_stored_statistics_slope_and_bias_are_applied(run_layer, shape, settings, eps):
    x, blobs = random_floats(1, *shape), bn_blobs(np.random.default_rng(2), 4)

    actual = run_layer("BN", settings, x, blobs=blobs)

    assert max_relative_error(actual, normalize(x, blobs, eps)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_eps_counts_where_variances_are_tiny(run_layer, eps):
    x = random_floats(1, 2, 3, 4, 4)
    blobs = bn_blobs(np.random.default_rng(2), 3)
    blobs[3] = np.array([[0.0, 1e-6, 1e-4]])

    actual = run_layer("BN", f"bn_param {{ eps: {eps} }}", x, blobs=blobs)

    assert max_relative_error(actual, normalize(x, blobs, eps)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(("frozen", "variance"), [("true", 1.0), ("false", 0.0)])
def test_a_bn_without_weights_is_in_caffes_initial_state(run_layer, frozen, variance):
    x = random_floats(1, 2, 3)
    settings = (
        f"bn_param {{ frozen: {frozen} slope_filler {{ value: 2 }} bias_filler {{ value: 3 }} }}"
    )

    actual = run_layer("BN", settings, x)

    expected = 2.0 * x.astype(np.float64) / np.sqrt(variance + 1e-5) + 3.0
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_fillers_default_to_zero(run_layer):
    actual = run_layer("BN", "", random_floats(1, 2, 3))

    np.testing.assert_array_equal(actual, np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["slope", "bias"])
def test_a_random_filler_is_refused_without_weights(load_layer, name):
    settings = f"bn_param {{ {name}_filler {{ type: 'gaussian' std: 1 }} }}"

    with pytest.raises(
        WeightsError, match=rf"{name} is filled at random \('gaussian'\).*--weights"
    ):
        load_layer("BN", settings, (1, 3))


@pytest.mark.parametrize("eps", ["0", "-1", "nan", "inf"])
def test_an_eps_that_is_not_positive_is_refused(load_layer, eps):
    with pytest.raises(LayerError, match=r"'it' \(BN\): its eps is .*must be positive"):
        load_layer("BN", f"bn_param {{ eps: {eps} }}", (1, 3))


def test_a_bottom_without_channels_is_refused(load_layer):
    with pytest.raises(LayerError, match="BN needs a channel axis"):
        load_layer("BN", "", (1,))


@pytest.fixture
def load_bn(tmp_path):
    """Load a BN layer of three channels, eps 1e-3, with this fourth blob."""

    def load(fourth, storage):
        blobs = [np.ones((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)), np.array([fourth])]
        prototxt, weights = write_prototxt(tmp_path, BN), write_weights(tmp_path, {"bn": blobs})
        return load_graph(prototxt, weights, bn_storage=storage).layers[0]

    return load


@pytest.mark.parametrize(
    ("storage", "fourth"),
    [
        (BNStorage.VARIANCE, [0.25, 1.0, 4.0]),
        (BNStorage.INVERSE_STD, (np.array([0.25, 1.0, 4.0]) + 1e-3) ** -0.5),
    ],
)
def test_either_storage_gives_the_variance(load_bn, storage, fourth):
    variance = load_bn(fourth, storage).blobs[3]

    assert variance.dtype == np.float64
    assert max_relative_error(variance, [[0.25, 1.0, 4.0]]) < FLOAT32_TOLERANCE


def test_a_variance_that_rounding_took_below_zero_is_taken(load_bn):
    bn = load_bn([1.0, -1e-6, 1.0], BNStorage.VARIANCE)

    assert np.isfinite(scale_and_shift(bn)[0]).all()


@pytest.mark.parametrize(
    ("storage", "fourth", "reason"),
    [
        (BNStorage.VARIANCE, [1.0, -0.5, 1.0], r"stored variance has the value -0\.5"),
        (BNStorage.VARIANCE, [1.0, -1e-3, 1.0], r"a variance is not negative"),
        (BNStorage.INVERSE_STD, [1.0, -2.0, 1.0], r"inverse deviation has the value -2"),
        (BNStorage.INVERSE_STD, [1.0, 0.0, 1.0], r"use --bn-storage variance"),
    ],
)
def test_a_fourth_blob_that_cannot_be_what_it_should_is_refused(load_bn, storage, fourth, reason):
    with pytest.raises(WeightsError, match=rf"net\.prototxt, layer 'bn' \(BN\): .*{reason}"):
        load_bn(fourth, storage)


def test_scale_and_shift_are_the_layer_as_one_affine_step(tmp_path):
    blobs = bn_blobs(np.random.default_rng(2), 3)
    bn = graph_of(tmp_path, BN, {"bn": blobs}).layers[0]
    x = random_floats(3, 4, 3)

    scale, shift = scale_and_shift(replace(bn, tops=()))

    eps = float(np.float32(1e-3))
    assert max_relative_error(x * scale + shift, normalize(x, blobs, eps)) < FLOAT32_TOLERANCE


def test_blobs_of_one_axis_are_refused(load_layer):
    with pytest.raises(WeightsError, match=r"ask for \[1, 3\], \[1, 3\], \[1, 3\], \[1, 3\]"):
        load_layer("BN", "", (1, 3), blobs=[np.ones(3)] * 4)
