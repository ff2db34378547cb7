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
RANGES = [
    ("", 1, 2),
    ("axis: 1 num_axes: 2", 1, 3),
    ("axis: 1 num_axes: -1", 1, 4),
    ("axis: 2", 2, 3),
    ("axis: 2 num_axes: 2", 2, 4),
    ("axis: -1", 3, 4),
    ("axis: -3", 1, 2),
    ("axis: -2 num_axes: -1", 2, 4),
    ("num_axes: 0", 1, 1),
    ("axis: 3 num_axes: 0", 3, 3),
]
"""Settings, and the first axis of the factor and the one behind its last."""


def scale(x, factor, start, *, bias=None):
    """Multiply each element by the factor's at its indices from axis `start` on."""
    out = np.empty(x.shape)
    for index in np.ndindex(*x.shape):
        own = index[start : start + factor.ndim]
        summand = 0.0 if bias is None else float(bias[own])
        out[index] = float(x[index]) * float(factor[own]) + summand
    return out


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("settings", "start", "end"), RANGES)
def test_the_learned_factor_lines_up_with_its_axes(run_layer, settings, start, end, has_bias):
    x = random_floats(1, *SHAPE)
    blobs = [random_floats(seed, *SHAPE[start:end]) for seed in range(2 + has_bias)][1:]
    settings = f"scale_param {{ {settings} bias_term: {str(has_bias).lower()} }}"

    actual = run_layer("Scale", settings, x, blobs=blobs)

    expected = scale(x, blobs[0], start, bias=blobs[1] if has_bias else None)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 2), (2, 3, 2, 2, 2)], ids=str)
def test_bottoms_of_any_rank_are_scaled_per_channel(run_layer, shape, has_bias):
    x, blobs = random_floats(1, *shape), [random_floats(2, 3), random_floats(3, 3)]
    settings = f"scale_param {{ bias_term: {str(has_bias).lower()} }}"

    actual = run_layer("Scale", settings, x, blobs=blobs[: 1 + has_bias])

    expected = scale(x, blobs[0], 1, bias=blobs[1] if has_bias else None)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "start", "end"),
    [("axis: 0", 0, 2), ("axis: 0", 0, 4), ("axis: -4 num_axes: 9", 0, 3)],
)
def test_a_factor_per_row_may_be_the_second_bottom_and_the_batch_stays_open(
    run_layer, settings, start, end
):
    x, factor = random_floats(1, *SHAPE), random_floats(2, *SHAPE[start:end])

    actual = run_layer("Scale", f"scale_param {{ {settings} }}", x, factor)

    assert max_relative_error(actual, scale(x, factor, start)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("settings", "start"), [("", 1), ("axis: 2", 2), ("axis: -1", 3)])
def test_a_factor_for_all_rows_may_be_an_input_without_a_batch(tmp_path, settings, start, has_bias):
    x, factor, bias = (random_floats(1, *SHAPE), *random_floats(2, 2, SHAPE[start]))
    settings = f"scale_param {{ {settings} bias_term: {str(has_bias).lower()} }}"
    it = layer("it", "Scale", "data by", "out", settings)
    text = net(it, data=(1, *SHAPE[1:]), by=factor.shape)

    actual = run_net(tmp_path, text, {"data": x, "by": factor}, {"it": [bias][:has_bias]})["out"]

    expected = scale(x, factor, start, bias=bias if has_bias else None)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_one_number_per_row_from_an_input_fixes_the_batch(tmp_path):
    x, factor = random_floats(1, 4, 3), random_floats(2, 4)
    it = layer("it", "Scale", "data by", "out", "scale_param { axis: 0 }")

    actual = run_net(tmp_path, net(it, data=(4, 3), by=(4,)), {"data": x, "by": factor})["out"]

    assert max_relative_error(actual, scale(x, factor, 0)) < FLOAT32_TOLERANCE


def test_a_learned_factor_per_row_fixes_the_batch(tmp_path):
    x, factor = random_floats(1, 4, 3), random_floats(2, 4)
    text = net(layer("it", "Scale", "data", "out", "scale_param { axis: 0 }"), data=(4, 3))

    actual = run_net(tmp_path, text, {"data": x}, {"it": [factor]})["out"]

    assert max_relative_error(actual, scale(x, factor, 0)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("axis: 4", [SHAPE], "axis 4 does not exist"),
        ("axis: -5", [SHAPE], "axis -5 does not exist"),
        ("axis: 2 num_axes: 3", [SHAPE], "its operand of 3 axes from axis 2 on does not lie in"),
        ("num_axes: -2", [SHAPE], "its operand of -2 axes"),
        ("axis: 2", [SHAPE, (1, 4)], r"second bottom \['N', 4\] must have the shape \[4, 5\]"),
        ("axis: 0", [SHAPE, (1, 4)], r"must have the shape \[1, 3\] of the axes 0 to 1"),
        ("axis: 3", [SHAPE, (1, 4)], "its operand of 2 axes from axis 3 on"),
        ("", [SHAPE] * 3, r"it has 3 bottom\(s\)"),
    ],
)
def test_a_factor_that_does_not_lie_in_the_bottom_is_refused(load_layer, settings, shapes, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Scale\): .*{reason}"):
        load_layer("Scale", f"scale_param {{ {settings} }}", *shapes)


@pytest.mark.parametrize(
    ("settings", "blobs", "asked"),
    [
        ("", [np.ones((1, 3))], r"\[3\]"),
        ("", [np.ones(3), np.ones(3)], r"\[3\]"),
        ("bias_term: true", [np.ones(3)], r"\[3\], \[3\]"),
        ("num_axes: 0", [np.ones(1)], r"\[\]"),
        ("num_axes: -1", [np.ones(3)], r"\[3, 4, 5\]"),
    ],
)
def test_blobs_of_another_shape_or_number_are_refused(load_layer, settings, blobs, asked):
    with pytest.raises(WeightsError, match=rf"\(Scale\): .*its settings ask for {asked}\. Use"):
        load_layer("Scale", f"scale_param {{ {settings} }}", SHAPE, blobs=blobs)
