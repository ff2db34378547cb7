import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_net,
)
from tsnd_builder.errors import LayerError, WeightsError

SHAPE = (2, 3, 4, 5)


def add(x, summand, start):
    """Add to each element the summand's at its indices from axis `start` on."""
    out = np.empty(x.shape)
    for index in np.ndindex(*x.shape):
        out[index] = float(x[index]) + float(summand[index[start : start + summand.ndim]])
    return out


@pytest.mark.parametrize(
    ("settings", "start", "end"),
    [
        ("", 1, 2),
        ("axis: 1 num_axes: 3 filler { value: 2 }", 1, 4),
        ("num_axes: -1", 1, 4),
        ("axis: 2", 2, 3),
        ("axis: -1", 3, 4),
        ("axis: -3 num_axes: 2", 1, 3),
        ("num_axes: 0", 1, 1),
    ],
)
def test_the_learned_summand_lines_up_with_its_axes(run_layer, settings, start, end):
    x, summand = random_floats(1, *SHAPE), random_floats(2, *SHAPE[start:end])

    actual = run_layer("Bias", f"bias_param {{ {settings} }}", x, blobs=[summand])

    assert max_relative_error(actual, add(x, summand, start)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("end", [2, 3, 4])
def test_a_summand_per_row_may_be_the_second_bottom(run_layer, end):
    x, summand = random_floats(1, *SHAPE), random_floats(2, *SHAPE[:end])

    actual = run_layer("Bias", "bias_param { axis: 0 }", x, summand)

    assert max_relative_error(actual, add(x, summand, 0)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(("settings", "start", "length"), [("", 1, 3), ("axis: -1", 3, 5)])
def test_a_summand_for_all_rows_may_be_an_input_without_a_batch(tmp_path, settings, start, length):
    x, summand = random_floats(1, *SHAPE), random_floats(2, length)
    bias = layer("it", "Bias", "data by", "out", f"bias_param {{ {settings} }}")
    text = net(bias, data=(1, *SHAPE[1:]), by=(length,))

    actual = run_net(tmp_path, text, {"data": x, "by": summand})["out"]

    assert max_relative_error(actual, add(x, summand, start)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("axis: 4", [SHAPE], "axis 4 does not exist"),
        ("axis: 3 num_axes: 2", [SHAPE], "its operand of 2 axes from axis 3 on does not lie in"),
        ("axis: 0", [SHAPE, (1, 4)], r"second bottom \[1, 4\] must have the shape \[1, 3\]"),
        ("", [SHAPE] * 3, r"it has 3 bottom\(s\)"),
    ],
)
def test_a_summand_that_does_not_lie_in_the_bottom_is_refused(load_layer, settings, shapes, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Bias\): .*{reason}"):
        load_layer("Bias", f"bias_param {{ {settings} }}", *shapes)


def test_a_blob_of_another_shape_is_refused(load_layer):
    with pytest.raises(WeightsError, match=r"\(Bias\): .*its settings ask for \[3\]\. Use"):
        load_layer("Bias", "", SHAPE, blobs=[np.ones((1, 3))])
