import pytest

from tsnd.caffe.net_pb2 import ConvolutionParameter, PoolingParameter
from tsnd_builder.errors import LayerError
from tsnd_builder.layers.window import Pair, Window, read_window

SETTINGS = pytest.mark.parametrize("message", [ConvolutionParameter, PoolingParameter])


@SETTINGS
def test_the_square_form_holds_for_both_axes(message):
    window = read_window(message(kernel_size=3, stride=2, pad=1))

    assert window == Window(kernel=Pair(3, 3), stride=Pair(2, 2), pad=Pair(1, 1))


@SETTINGS
def test_stride_is_one_and_padding_none_by_default(message):
    assert read_window(message(kernel_size=3)) == Window(Pair(3, 3), Pair(1, 1), Pair(0, 0))


@SETTINGS
def test_each_setting_has_a_form_of_its_own(message):
    window = read_window(message(kernel_h=1, kernel_w=7, stride=2, pad_h=0, pad_w=3))

    assert window == Window(kernel=Pair(1, 7), stride=Pair(2, 2), pad=Pair(0, 3))


@SETTINGS
@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_h": 3},
        {"kernel_size": 3, "kernel_h": 3, "kernel_w": 3},
        {"kernel_size": 3, "stride_h": 1},
        {"kernel_size": 3, "stride": 1, "stride_h": 1, "stride_w": 1},
        {"kernel_size": 3, "pad_w": 0},
        {"kernel_size": 3, "pad": 0, "pad_h": 0, "pad_w": 0},
    ],
    ids=str,
)
def test_half_a_pair_and_mixed_forms_are_refused(message, fields):
    with pytest.raises(LayerError, match="it must set either"):
        read_window(message(**fields))


@SETTINGS
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "kernel is not set"),
        ({"kernel_h": 0, "kernel_w": 3}, "kernel is not set"),
        ({"kernel_size": 3, "stride_h": 1, "stride_w": 0}, "stride is 0"),
    ],
    ids=str,
)
def test_zeros_are_refused(message, fields, reason):
    with pytest.raises(LayerError, match=reason):
        read_window(message(**fields))
