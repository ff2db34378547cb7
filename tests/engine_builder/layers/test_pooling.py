import math

import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, layer, max_relative_error, net, random_floats, run_net
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.pooling import overhang, pooled_length

METHODS = ("MAX", "AVE")
SQUARES = [
    (kernel, stride, pad)
    for kernel in (1, 2, 3, 5)
    for stride in (1, 2, 3, 4)
    for pad in (0, 1, 2)
    if pad < kernel
]


class EmptyWindow(Exception):
    """A window that lies outside the image, over which Caffe yields -FLT_MAX or NaN."""


def pool(image, method, kernel, stride, pad):
    """Pool [N, C, H, W] window by window; kernel, stride and pad are (h, w)."""
    height, width = image.shape[2:]
    rows = windows(height, kernel[0], stride[0], pad[0], clips=any(pad))
    columns = windows(width, kernel[1], stride[1], pad[1], clips=any(pad))
    out = np.empty((*image.shape[:2], len(rows), len(columns)))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            seen = image[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            if not seen.size:
                raise EmptyWindow
            if method == "MAX":
                out[:, :, i, j] = seen.max(axis=(2, 3))
            else:
                out[:, :, i, j] = seen.sum(axis=(2, 3)) / ((bottom - top) * (right - left))
    return out


def windows(length, kernel, stride, pad, *, clips):
    """Return (start, end) of each window along one axis, cut at the end of the padding."""
    count = math.ceil((length + 2 * pad - kernel) / stride) + 1
    if clips and (count - 1) * stride >= length + pad:
        count -= 1
    starts = [index * stride - pad for index in range(count)]
    return [(start, min(start + kernel, length + pad)) for start in starts]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(5, 6), (8, 7), (9, 11)], ids=str)
@pytest.mark.parametrize("window", SQUARES, ids=str)
def test_square_pool_is_caffes_or_is_refused_for_an_empty_window(run_layer, method, size, window):
    kernel, stride, pad = window
    image = random_floats(kernel + 10 * stride + 100 * pad, 2, 3, *size)
    settings = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
    try:
        expected = pool(image, method, [kernel] * 2, [stride] * 2, [pad] * 2)
    except EmptyWindow:
        with pytest.raises(LayerError, match="outside the image"):
            run_layer("Pooling", f"pooling_param {{ {settings} }}", image)
        return

    actual = run_layer("Pooling", f"pooling_param {{ {settings} }}", image)

    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((7, 9), [(2, 5), (1, 3), (0, 2)]),
        ((7, 9), [(3, 2), (2, 1), (1, 0)]),
        ((8, 5), [(1, 4), (1, 2), (0, 3)]),
        ((6, 6), [(2, 2), (2, 2), (1, 0)]),
        ((5, 6), [(2, 2), (2, 2), (1, 1)]),
        ((1, 9), [(1, 3), (1, 2), (0, 1)]),
        ((4, 4), [(6, 2), (3, 2), (5, 1)]),
    ],
    ids=str,
)
def test_rectangular_pool_keeps_height_and_width_apart(run_layer, method, size, window):
    kernel, stride, pad = window
    image = random_floats(sum(size), 3, 2, *size)
    settings = f"""pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]}
        stride_h: {stride[0]} stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} }}"""

    actual = run_layer("Pooling", settings, image)

    expected = pool(image, method, kernel, stride, pad)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("size", "kernel", "stride"), [(2, 3, 2), (2, 5, 4), (3, 4, 3)])
def test_kernel_may_exceed_the_image_by_less_than_the_stride(
    run_layer, method, size, kernel, stride
):
    image = random_floats(0, 2, 2, size, size)

    actual = run_layer(
        "Pooling",
        f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} }}",
        image,
    )

    expected = pool(image, method, [kernel] * 2, [stride] * 2, [0, 0])
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_padding_never_wins_a_maximum(run_layer):
    image = np.full((2, 1, 4, 4), -7.0, np.float32)

    actual = run_layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }", image)

    np.testing.assert_array_equal(actual, np.full((2, 1, 3, 3), -7.0))


def test_an_average_counts_the_padding_but_not_what_lies_beyond(run_layer):
    image = np.ones((1, 1, 8, 8), np.float32)

    actual = run_layer(
        "Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", image
    )

    # Along an axis, the first window holds 2 pixels of 3, the last 1 pixel of 2.
    share = np.array([2 / 3, 1.0, 1.0, 1.0, 1 / 2])
    assert max_relative_error(actual[0, 0], np.outer(share, share)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    "settings",
    [
        "global_pooling: true",
        "global_pooling: true pad: 0 stride: 1",
        "global_pooling: true pad_h: 0 pad_w: 0 stride_h: 1 stride_w: 1",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_global_pool_takes_the_whole_image(run_layer, method, settings):
    image = random_floats(5, 3, 4, 5, 7)

    actual = run_layer("Pooling", f"pooling_param {{ pool: {method} {settings} }}", image)

    if method == "MAX":
        expected = image.max(axis=(2, 3), keepdims=True)
    else:
        expected = image.mean(axis=(2, 3), keepdims=True)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_the_default_is_a_maximum_of_stride_one(run_layer):
    image = random_floats(6, 2, 2, 5, 5)

    actual = run_layer("Pooling", "pooling_param { kernel_size: 2 }", image)

    np.testing.assert_array_equal(actual, pool(image, "MAX", [2, 2], [1, 1], [0, 0]))


@pytest.mark.parametrize(
    ("axis", "clips", "count"),
    [
        ((112, 3, 2, 0), False, 56),
        ((224, 3, 2, 0), False, 112),
        ((7, 7, 1, 0), False, 1),
        ((8, 3, 2, 1), True, 5),
        ((5, 2, 2, 1), True, 3),
        ((5, 2, 2, 1), False, 4),
        ((6, 2, 2, 0), True, 3),
        ((2, 4, 1, 0), False, -1),
    ],
)
def test_windows_are_counted_as_caffe_counts_them(axis, clips, count):
    assert pooled_length(*axis, clips=clips) == count


@pytest.mark.parametrize(
    ("axis", "out", "pixels"),
    [((112, 3, 2, 0), 56, 1), ((8, 3, 2, 1), 5, 1), ((7, 3, 2, 0), 3, 0), ((5, 2, 2, 1), 3, 0)],
)
def test_overhang_is_what_the_last_window_lacks(axis, out, pixels):
    length, kernel, stride, pad = axis

    assert overhang(length, kernel, stride, pad, out) == pixels


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("pool: STOCHASTIC kernel_size: 2", "STOCHASTIC pooling has no deterministic"),
        ("", "kernel is not set"),
        ("kernel_size: 2 stride: 0", "stride is 0"),
        ("kernel_size: 2 pad: 2", r"pad \(2, 2\) must be smaller than its kernel \(2, 2\)"),
        ("kernel_h: 2 kernel_w: 3 pad_h: 2 pad_w: 0", r"pad \(2, 0\) must be smaller"),
        ("kernel_h: 2", "either kernel_size, or both kernel_h and kernel_w"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "either kernel_size, or both"),
        ("kernel_size: 2 stride_w: 2", "either stride, or both stride_h and stride_w"),
        ("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1", "either pad, or both pad_h and pad_w"),
        ("kernel_size: 9", r"kernel \(9, 9\) does not fit the image \(6, 7\)"),
        ("kernel_size: 1 stride: 6", r"last window starts at \(6, 6\), outside the image \(6, 7\)"),
        ("global_pooling: true kernel_size: 7", "global_pooling takes.*remove kernel_size"),
        ("global_pooling: true pad: 1 stride: 2", "remove pad, stride"),
        ("global_pooling: true kernel_h: 1 kernel_w: 1", "remove kernel_h, kernel_w"),
    ],
)
def test_settings_that_caffe_or_onnx_cannot_run_are_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Pooling\): .*{reason}"):
        load_layer("Pooling", f"pooling_param {{ {settings} }}", (1, 3, 6, 7))


@pytest.mark.parametrize("shape", [(1, 5), (1, 3, 4), (1, 3, 4, 5, 6)])
def test_a_bottom_without_four_axes_is_refused(load_layer, shape):
    with pytest.raises(LayerError, match="pooling takes 4 axes"):
        load_layer("Pooling", "pooling_param { kernel_size: 1 }", shape)


def test_a_second_top_is_refused(tmp_path):
    text = net(layer("it", "Pooling", "data", "out mask", "pooling_param { kernel_size: 2 }"))

    with pytest.raises(LayerError, match=r"'it' \(Pooling\): it has 2 top\(s\), expected 1"):
        run_net(tmp_path, text, {})
