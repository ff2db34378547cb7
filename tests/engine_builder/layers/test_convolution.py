import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, layer, max_relative_error, net, random_floats, run_net
from tsnd_builder.errors import LayerError


def convolve(image, weight, bias, *, stride, pad, dilation, group):
    """Convolve [N, C, H, W] with [O, C / group, h, w], one output pixel at a time."""
    image = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    outputs, depth, *kernel = weight.shape
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows = (image.shape[2] - extent[0]) // stride[0] + 1
    columns = (image.shape[3] - extent[1]) // stride[1] + 1
    out = np.empty((len(image), outputs, rows, columns))
    for channel in range(outputs):
        first = channel // (outputs // group) * depth
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride[0], j * stride[1]
                window = image[
                    :,
                    first : first + depth,
                    top : top + extent[0] : dilation[0],
                    left : left + extent[1] : dilation[1],
                ]
                out[:, channel, i, j] = (window * weight[channel]).sum(axis=(1, 2, 3)) + bias[
                    channel
                ]
    return out


SQUARES = [
    # kernel, stride, pad, dilation, group
    (1, 1, 0, 1, 1),
    (1, 2, 0, 1, 1),
    (3, 1, 1, 1, 1),
    (3, 2, 0, 1, 1),
    (3, 2, 1, 1, 2),
    (3, 3, 2, 1, 1),
    (3, 1, 2, 2, 1),
    (2, 1, 0, 3, 2),
    (3, 2, 4, 2, 4),
    (5, 1, 2, 1, 4),
    (7, 2, 3, 1, 1),
    (2, 1, 2, 1, 1),
]


@pytest.mark.parametrize("size", [(7, 8), (10, 9)], ids=str)
@pytest.mark.parametrize("window", SQUARES, ids=str)
def test_square_convolution_is_caffes(run_layer, size, window):
    kernel, stride, pad, dilation, group = window
    image = random_floats(kernel, 3, 4, *size)
    weight = random_floats(stride, 8, 4 // group, kernel, kernel)
    bias = random_floats(pad, 8)
    settings = f"""convolution_param {{ num_output: 8 kernel_size: {kernel} stride: {stride}
        pad: {pad} dilation: {dilation} group: {group} }}"""

    actual = run_layer("Convolution", settings, image, blobs=[weight, bias])

    expected = convolve(
        image,
        weight,
        bias,
        stride=[stride] * 2,
        pad=[pad] * 2,
        dilation=[dilation] * 2,
        group=group,
    )
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation"),
    [
        ((1, 7), (1, 1), (0, 3), (1, 1)),
        ((7, 1), (1, 1), (3, 0), (1, 1)),
        ((3, 2), (2, 1), (0, 1), (1, 1)),
        ((2, 3), (1, 3), (1, 0), (3, 1)),
        ((3, 3), (1, 1), (0, 2), (1, 2)),
    ],
)
def test_rectangular_convolution_keeps_height_and_width_apart(
    run_layer, kernel, stride, pad, dilation
):
    image, weight = random_floats(1, 2, 3, 8, 9), random_floats(2, 4, 3, *kernel)
    settings = f"""convolution_param {{ num_output: 4 bias_term: false
        kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]}
        pad_h: {pad[0]} pad_w: {pad[1]} dilation_h: {dilation[0]} dilation_w: {dilation[1]} }}"""

    actual = run_layer("Convolution", settings, image, blobs=[weight])

    expected = convolve(
        image, weight, np.zeros(4), stride=stride, pad=pad, dilation=dilation, group=1
    )
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_dilation_per_axis_wins_over_dilation(load_layer):
    settings = """convolution_param { num_output: 1 kernel_size: 3 bias_term: false
        dilation: 3 dilation_h: 1 dilation_w: 2 }"""

    loaded = load_layer("Convolution", settings, (1, 1, 9, 9), blobs=[np.ones((1, 1, 3, 3))])

    assert loaded.tops[0].shape == ("N", 1, 7, 5)


def test_several_bottoms_share_the_weights(tmp_path):
    a, b = random_floats(1, 2, 3, 6, 6), random_floats(2, 2, 3, 6, 6)
    weight, bias = random_floats(3, 2, 3, 3, 3), random_floats(4, 2)
    settings = "convolution_param { num_output: 2 kernel_size: 3 }"
    text = net(layer("it", "Convolution", "a b", "ca cb", settings), a=a.shape, b=b.shape)

    actual = run_net(tmp_path, text, {"a": a, "b": b}, {"it": [weight, bias]})

    for blob, image in (("ca", a), ("cb", b)):
        expected = convolve(
            image, weight, bias, stride=[1, 1], pad=[0, 0], dilation=[1, 1], group=1
        )
        assert max_relative_error(actual[blob], expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("kernel_size: 3", "num_output is not set"),
        ("num_output: 6", "kernel is not set"),
        ("num_output: 6 kernel_size: 0", "kernel is not set"),
        ("num_output: 6 kernel_size: 3 stride: 0", "stride is 0"),
        ("num_output: 6 kernel_size: 3 dilation: 0", "dilation is 0"),
        ("num_output: 6 kernel_size: 3 group: 4", "group 4 must divide its 6 input channels"),
        ("num_output: 7 kernel_size: 3 group: 2", "group 2 must divide .* num_output 7"),
        ("num_output: 6 kernel_size: 3 group: 0", "group 0 must divide"),
        ("num_output: 6 kernel_size: 9", r"kernel \(9, 9\) is larger than its padded input 7 x 8"),
        ("num_output: 6 kernel_h: 3", "either kernel_size, or both kernel_h and kernel_w"),
        ("num_output: 6 kernel_size: 3 pad_w: 1", "either pad, or both pad_h and pad_w"),
        (
            "num_output: 6 kernel_size: 3 stride: 1 stride_h: 1 stride_w: 1",
            "either stride, or both",
        ),
        (
            "num_output: 6 kernel_size: 3 dilation_h: 2",
            "one of dilation_h and dilation_w.*Set both",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Convolution\): .*{reason}"):
        load_layer("Convolution", f"convolution_param {{ {settings} }}", (1, 6, 7, 8))


@pytest.mark.parametrize("shape", [(1, 5), (1, 3, 4), (1, 3, 4, 5, 6)])
def test_a_bottom_without_four_axes_is_refused(load_layer, shape):
    with pytest.raises(LayerError, match="this layer takes 4 axes"):
        load_layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }", shape)


def test_bottoms_of_different_shapes_are_refused(tmp_path):
    settings = "convolution_param { num_output: 2 kernel_size: 1 }"
    text = net(layer("it", "Convolution", "a b", "ca cb", settings), a=(1, 3, 6, 6), b=(1, 3, 6, 7))

    with pytest.raises(LayerError, match="bottoms differ in shape"):
        run_net(tmp_path, text, {})


def test_a_top_per_bottom_is_asked_for(tmp_path):
    text = net(layer("it", "Convolution", "data", "a b", "convolution_param { num_output: 1 }"))

    with pytest.raises(LayerError, match=r"it has 2 top\(s\), expected 1"):
        run_net(tmp_path, text, {})
