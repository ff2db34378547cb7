import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_net,
)
from tsnd_builder.errors import LayerError, WeightsError


def deconvolve(x, weight, bias, *, stride, pad, group=1):
    """Add the kernel, times each pixel, to the output at the pixel's place; then crop the pad."""
    batch, channels, height, width = x.shape
    _, per_group, kernel_h, kernel_w = weight.shape
    full = np.zeros(
        (
            batch,
            per_group * group,
            stride[0] * (height - 1) + kernel_h,
            stride[1] * (width - 1) + kernel_w,
        )
    )
    for channel, row, column in np.ndindex(channels, height, width):
        first = channel // (channels // group) * per_group
        top, left = row * stride[0], column * stride[1]
        pixel = x[:, channel, row, column].astype(np.float64)
        patch = np.multiply.outer(pixel, weight[channel])
        outputs = slice(first, first + per_group)
        full[:, outputs, top : top + kernel_h, left : left + kernel_w] += patch
    cropped = full[:, :, pad[0] : full.shape[2] - pad[0], pad[1] : full.shape[3] - pad[1]]
    return cropped + np.asarray(bias).reshape(-1, 1, 1)


GRID = [
    ("kernel_size: 1", (1, 1), (1, 1), (0, 0), 1),
    ("kernel_size: 3", (3, 3), (1, 1), (0, 0), 1),
    ("kernel_size: 4 stride: 2 pad: 1", (4, 4), (2, 2), (1, 1), 1),
    ("kernel_size: 2 stride: 3", (2, 2), (3, 3), (0, 0), 1),
    ("kernel_size: 4 stride: 2 pad: 1 group: 2", (4, 4), (2, 2), (1, 1), 2),
    (
        "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0",
        (3, 2),
        (1, 2),
        (1, 0),
        1,
    ),
    ("kernel_size: 3 dilation: 1 engine: CAFFE", (3, 3), (1, 1), (0, 0), 1),
]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("case", GRID, ids=lambda case: case[0].replace(" ", ""))
def test_each_pixel_spreads_over_its_kernel(run_layer, case, has_bias):
    settings, kernel, stride, pad, group = case
    x, weight = random_floats(1, 2, 4, 3, 5), random_floats(2, 4, 6 // group, *kernel)
    bias = random_floats(3, 6) if has_bias else np.zeros(6)
    switch = str(has_bias).lower()

    actual = run_layer(
        "Deconvolution",
        f"convolution_param {{ num_output: 6 bias_term: {switch} {settings} }}",
        x,
        blobs=[weight, bias] if has_bias else [weight],
    )

    expected = deconvolve(x, weight, bias, stride=stride, pad=pad, group=group)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_every_channel_may_be_a_group_as_where_an_image_is_enlarged(run_layer):
    x, weight = random_floats(1, 3, 4, 3, 3), random_floats(2, 4, 1, 4, 4)
    settings = "num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 bias_term: false"

    actual = run_layer("Deconvolution", f"convolution_param {{ {settings} }}", x, blobs=[weight])

    expected = deconvolve(x, weight, 0.0, stride=(2, 2), pad=(1, 1), group=4)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_several_bottoms_share_the_weights(tmp_path):
    weight, bias = random_floats(2, 3, 2, 3, 3), random_floats(3, 2)
    bottoms = {name: random_floats(seed, 3, 3, 4, 4) for seed, name in enumerate("ab")}
    settings = "convolution_param { num_output: 2 kernel_size: 3 stride: 2 }"
    text = net(layer("it", "Deconvolution", "a b", "x y", settings), a=(1, 3, 4, 4), b=(1, 3, 4, 4))

    actual = run_net(tmp_path, text, bottoms, {"it": [weight, bias]})

    for bottom, top in zip("ab", "xy", strict=True):
        expected = deconvolve(bottoms[bottom], weight, bias, stride=(2, 2), pad=(0, 0))
        assert max_relative_error(actual[top], expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("kernel_size: 1", [(1, 4, 3, 3)], "num_output is not set"),
        ("num_output: 2", [(1, 4, 3, 3)], "its kernel is not set"),
        ("num_output: 2 kernel_size: 1", [(1, 4, 3)], r"\['N', 4, 3\]; this layer takes 4"),
        ("num_output: 2 kernel_size: 1 group: 3", [(1, 4, 3, 3)], "group 3 must divide its 4"),
        ("num_output: 3 kernel_size: 1 group: 2", [(1, 4, 3, 3)], "and num_output 3"),
        ("num_output: 2 kernel_size: 1 group: 0", [(1, 4, 3, 3)], "group 0 must divide"),
        ("num_output: 2 kernel_size: 3 dilation: 2", [(1, 4, 3, 3)], "it is dilated"),
        ("num_output: 2 kernel_size: 3 dilation_w: 2", [(1, 4, 3, 3)], "it is dilated"),
        ("num_output: 2 kernel_size: 2 pad: 2", [(1, 4, 2, 9)], r"pad \(2, 2\) leaves nothing"),
        ("num_output: 2 kernel_size: 2 stride: 0", [(1, 4, 3, 3)], "its stride is 0"),
        ("num_output: 2 kernel_h: 2", [(1, 4, 3, 3)], "both kernel_h and kernel_w"),
    ],
)
def test_settings_that_make_no_sense_are_refused(load_layer, settings, shapes, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Deconvolution\): .*{reason}"):
        load_layer("Deconvolution", f"convolution_param {{ {settings} }}", *shapes)


@pytest.mark.parametrize(
    ("bottoms", "tops", "shape", "reason"),
    [
        ("a b", "x y", (1, 4, 3, 4), "its bottoms differ in shape"),
        ("a b", "x", (1, 4, 3, 3), r"it has 1 top\(s\), expected 2"),
        ("", "", (1, 4, 3, 3), r"it has 0 bottom\(s\)"),
    ],
)
def test_bottoms_and_tops_that_do_not_pair_up_are_refused(tmp_path, bottoms, tops, shape, reason):
    settings = "convolution_param { num_output: 2 kernel_size: 1 }"
    text = net(layer("it", "Deconvolution", bottoms, tops, settings), a=(1, 4, 3, 3), b=shape)

    with pytest.raises(LayerError, match=rf"layer 'it' \(Deconvolution\): .*{reason}"):
        graph_of(tmp_path, text)


def test_a_weight_laid_out_as_a_convolutions_is_refused(load_layer):
    settings = "convolution_param { num_output: 2 kernel_size: 3 bias_term: false }"

    with pytest.raises(WeightsError, match=r"its settings ask for \[4, 2, 3, 3\]"):
        load_layer("Deconvolution", settings, (1, 4, 5, 5), blobs=[random_floats(1, 2, 4, 3, 3)])
