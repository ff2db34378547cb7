import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError

DEFAULTS = {"size": 5, "alpha": 1.0, "beta": 0.75}
WITHIN = "norm_region: WITHIN_CHANNEL"


def across_channels(x, *, size, alpha, beta, k):
    """Divide by the squares of `size` neighbouring channels; those outside count as 0."""
    squares, out = x.astype(np.float64) ** 2, np.empty(x.shape)
    for channel in range(x.shape[1]):
        first, last = channel - size // 2, channel + size // 2
        total = squares[:, max(first, 0) : last + 1].sum(axis=1)
        out[:, channel] = x[:, channel] * (k + alpha / size * total) ** -beta
    return out


def within_channel(x, *, size, alpha, beta):
    """Divide by the squares of `size` x `size` neighbours; those outside count as 0."""
    squares, out = x.astype(np.float64) ** 2, np.empty(x.shape)
    half = size // 2
    for row, column in np.ndindex(*x.shape[2:]):
        rows = slice(max(row - half, 0), row + half + 1)
        columns = slice(max(column - half, 0), column + half + 1)
        mean = squares[:, :, rows, columns].sum(axis=(2, 3)) / size**2
        out[:, :, row, column] = x[:, :, row, column] * (1.0 + alpha * mean) ** -beta
    return out


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ("", {}),
        ("local_size: 3 alpha: 0.0001 beta: 0.75", {"size": 3, "alpha": 0.0001}),
        ("local_size: 5 alpha: 2 beta: 0.5 k: 2", {"alpha": 2.0, "beta": 0.5, "k": 2.0}),
        ("local_size: 1 alpha: 0.5", {"size": 1, "alpha": 0.5}),
        ("local_size: 9 beta: 1.5 norm_region: ACROSS_CHANNELS", {"size": 9, "beta": 1.5}),
    ],
)
@pytest.mark.parametrize("shape", [(3, 7, 4, 5), (2, 2, 3, 3), (3, 1, 2, 2)], ids=str)
def test_neighbouring_channels_normalize_each_other(run_layer, settings, changed, shape):
    x = 2.0 * random_floats(1, *shape)

    actual = run_layer("LRN", f"lrn_param {{ {settings} }}", x)

    expected = across_channels(x, **{**DEFAULTS, "k": 1.0, **changed})
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ("", {}),
        ("local_size: 3 alpha: 0.5 beta: 1.5", {"size": 3, "alpha": 0.5, "beta": 1.5}),
        ("local_size: 3 k: 7", {"size": 3}),
        ("local_size: 1", {"size": 1}),
        ("local_size: 9 alpha: 3", {"size": 9, "alpha": 3.0}),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (3, 2, 3, 7), (2, 1, 1, 1)], ids=str)
def test_neighbouring_pixels_normalize_each_other_and_k_is_ignored(
    run_layer, settings, changed, shape
):
    x = 2.0 * random_floats(1, *shape)

    actual = run_layer("LRN", f"lrn_param {{ {WITHIN} {settings} }}", x)

    expected = within_channel(x, **{**DEFAULTS, **changed})
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("region", ["", WITHIN])
@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_window_without_a_middle_is_refused(load_layer, region, size):
    with pytest.raises(LayerError, match=rf"\(LRN\): its local_size is {size}; it must be odd"):
        load_layer("LRN", f"lrn_param {{ local_size: {size} {region} }}", (1, 3, 4, 4))


def test_a_bottom_that_is_no_image_is_refused(load_layer):
    with pytest.raises(LayerError, match=r"bottom has shape \['N', 3\]; LRN takes 4 axes"):
        load_layer("LRN", "", (1, 3))
