import math

import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError


def starts_of(length, bins):
    """Kernel, pad and starts of the windows of one level along one axis."""
    kernel = math.ceil(length / bins)
    pad = (kernel * bins - length + 1) // 2
    return kernel, pad, [index * kernel - pad for index in range(bins)]


def pool_into(x, bins, *, is_max):
    """Pool [N, C, H, W] into bins x bins; the divisor of a mean counts the padding."""
    (height, width), out = x.shape[2:], np.empty((*x.shape[:2], bins, bins))
    kernel_h, pad_h, tops = starts_of(height, bins)
    kernel_w, pad_w, lefts = starts_of(width, bins)
    for row, column in np.ndindex(bins, bins):
        bottom = min(tops[row] + kernel_h, height + pad_h)
        right = min(lefts[column] + kernel_w, width + pad_w)
        size = (bottom - tops[row]) * (right - lefts[column])
        window = x[:, :, max(tops[row], 0) : bottom, max(lefts[column], 0) : right]
        window = window.astype(np.float64).reshape(*x.shape[:2], -1)
        out[:, :, row, column] = window.max(axis=2) if is_max else window.sum(axis=2) / size
    return out


def pyramid(x, levels, *, is_max):
    """Join the pooled images of all levels into one row."""
    pooled = [pool_into(x, 2**level, is_max=is_max) for level in range(levels)]
    return np.concatenate([image.reshape(len(x), -1) for image in pooled], axis=1)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("image", [(8, 8), (7, 6), (9, 14), (4, 8), (15, 11)], ids=str)
def test_the_levels_of_the_pyramid_become_one_row(run_layer, image, levels, pool):
    x = random_floats(1, 3, 2, *image)

    actual = run_layer("SPP", f"spp_param {{ pyramid_height: {levels} pool: {pool} }}", x)

    assert max_relative_error(actual, pyramid(x, levels, is_max=pool == "MAX")) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_a_pyramid_of_one_level_stays_an_image(run_layer, pool):
    x = random_floats(1, 3, 2, 4, 5)

    actual = run_layer("SPP", f"spp_param {{ pyramid_height: 1 pool: {pool} }}", x)

    assert max_relative_error(actual, pool_into(x, 1, is_max=pool == "MAX")) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "shape", "reason"),
    [
        ("", (1, 2, 4, 4), "pyramid_height is not set"),
        ("pyramid_height: 0", (1, 2, 4, 4), "pyramid_height is not set"),
        ("pyramid_height: 2 pool: STOCHASTIC", (1, 2, 4, 4), "use MAX or AVE"),
        ("pyramid_height: 2", (1, 2, 4), r"\['N', 2, 4\]; SPP takes 4 axes"),
        ("pyramid_height: 3", (1, 2, 2, 8), r"image of \(2, 8\) is too small for 4 x 4 bins"),
        ("pyramid_height: 3", (1, 2, 8, 5), "too small for 4 x 4 bins; lower pyramid_height"),
    ],
)
def test_images_and_pyramids_that_do_not_fit_are_refused(load_layer, settings, shape, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(SPP\): .*{reason}"):
        load_layer("SPP", f"spp_param {{ {settings} }}", shape)
