"""Layer types that compute each element by itself: AbsVal to Threshold."""

import math

import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
)
from tsnd_builder.errors import LayerError

SHAPES = [(5,), (3, 4), (2, 3, 4, 5), (3, 2, 2, 2, 2)]
EXTREMES = np.array([[-80.0, -20.0, -1.0, 0.0, 1e-4, 1.0, 20.0, 80.0]], np.float32)


def bnll(x):
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def elementwise(function, x):
    """Apply a function of floats to each element, in float64."""
    return np.array([function(float(value)) for value in x.ravel()]).reshape(x.shape)


FUNCTIONS = {"AbsVal": abs, "BNLL": bnll, "Sigmoid": sigmoid, "TanH": math.tanh}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_each_element_is_computed_by_itself(run_layer, kind, shape):
    x = 3.0 * random_floats(1, *shape)

    actual = run_layer(kind, "", x)

    assert max_relative_error(actual, elementwise(FUNCTIONS[kind], x)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_extreme_values_do_not_overflow(run_layer, kind):
    actual = run_layer(kind, "", EXTREMES)

    assert max_relative_error(actual, elementwise(FUNCTIONS[kind], EXTREMES)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("kind", [*FUNCTIONS, "Exp", "Log", "Power", "Threshold"])
@pytest.mark.parametrize(
    ("shapes", "reason"),
    [([(1, 3), (1, 3)], r"it has 2 bottom\(s\)"), ([], r"it has 0 bottom\(s\)")],
)
def test_other_numbers_of_bottoms_are_refused(tmp_path, kind, shapes, reason):
    bottoms = " ".join(f"in{index}" for index in range(len(shapes)))
    text = net(layer("it", kind, bottoms, "out"), in0=(1, 3), in1=(1, 3))

    with pytest.raises(LayerError, match=rf"layer 'it' \({kind}\): {reason}; a {kind} takes 1"):
        graph_of(tmp_path, text)


@pytest.mark.parametrize("engine", ["CAFFE", "CUDNN"])
@pytest.mark.parametrize(("kind", "block"), [("Sigmoid", "sigmoid"), ("TanH", "tanh")])
def test_the_engine_does_not_matter(run_layer, kind, block, engine):
    x = random_floats(1, 3, 4)

    actual = run_layer(kind, f"{block}_param {{ engine: {engine} }}", x)

    assert max_relative_error(actual, elementwise(FUNCTIONS[kind], x)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "base", "scale", "factor"),
    [
        ("", math.e, 1.0, 1.0),
        ("base: -1 scale: 0.5", math.e, 0.5, 1.0),
        ("base: 2", 2.0, 1.0, 1.0),
        ("base: 0.5 scale: -2 shift: 1.5", 0.5, -2.0, 0.5**1.5),
        ("base: 10 shift: -1", 10.0, 1.0, 0.1),
        ("base: 1 shift: 3", 1.0, 1.0, 1.0),
        ("scale: 0", math.e, 0.0, 1.0),
        ("shift: 1", math.e, 1.0, -1.0),
        ("shift: -3 scale: 2", math.e, 2.0, -1.0),
        ("shift: 2", math.e, 1.0, 1.0),
    ],
)
def test_exp_is_the_base_to_the_power_of_an_affine_function(
    run_layer, settings, base, scale, factor
):
    """With the default base the fork's outer factor is (-1) ** shift."""
    x = random_floats(1, 3, 4, 2)

    actual = run_layer("Exp", f"exp_param {{ {settings} }}", x)

    expected = elementwise(lambda value: factor * base ** (scale * value), x)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("base: 0", "its base is 0; it must be positive, or -1 for e"),
        ("base: -2", "its base is -2; it must be positive"),
        ("shift: 0.5", r"computes \(-1\) \*\* 0\.5.*which is NaN\. Give base: 2\.718281828"),
        ("base: 10 shift: 400", r"its constant factor 10 \*\* 400 is not a finite number"),
    ],
)
def test_an_exp_that_is_no_number_is_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Exp\): .*{reason}"):
        load_layer("Exp", f"exp_param {{ {settings} }}", (1, 3))


@pytest.mark.parametrize(
    ("settings", "base", "scale", "shift"),
    [
        ("", math.e, 1.0, 0.0),
        ("base: -1 scale: 2", math.e, 2.0, 0.0),
        ("base: 2 shift: 0.5", 2.0, 1.0, 0.5),
        ("base: 10 scale: 0.25 shift: 3", 10.0, 0.25, 3.0),
        ("base: 0.5", 0.5, 1.0, 0.0),
    ],
)
def test_log_is_the_logarithm_of_an_affine_function(run_layer, settings, base, scale, shift):
    x = np.abs(random_floats(1, 3, 4, 2)) + np.float32(0.1)

    actual = run_layer("Log", f"log_param {{ {settings} }}", x)

    expected = elementwise(lambda value: math.log(shift + scale * value) / math.log(base), x)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("base", ["0", "1", "-2"])
def test_a_base_without_a_logarithm_is_refused(load_layer, base):
    with pytest.raises(
        LayerError, match=rf"\(Log\): its base is {base}; it must be positive and not 1"
    ):
        load_layer("Log", f"log_param {{ base: {base} }}", (1, 3))


@pytest.mark.parametrize(
    ("settings", "power", "scale", "shift"),
    [
        ("", 1.0, 1.0, 0.0),
        ("power: 2", 2.0, 1.0, 0.0),
        ("power: 3 scale: -0.5 shift: 0.25", 3.0, -0.5, 0.25),
        ("power: -2 shift: 10", -2.0, 1.0, 10.0),
        ("power: 0.5 shift: 10 scale: 2", 0.5, 2.0, 10.0),
        ("shift: 3", 1.0, 1.0, 3.0),
        ("scale: 3", 1.0, 3.0, 0.0),
        ("power: 0", 0.0, 1.0, 0.0),
        ("power: 0 scale: 2 shift: -1", 0.0, 2.0, -1.0),
        ("scale: 0 shift: 2 power: 3", 3.0, 0.0, 2.0),
        ("scale: 0 shift: -2 power: 3", 3.0, 0.0, -2.0),
        ("scale: 0", 1.0, 0.0, 0.0),
    ],
)
def test_power_is_a_power_of_an_affine_function(run_layer, settings, power, scale, shift):
    x = random_floats(1, 2, 3, 2, 2)

    actual = run_layer("Power", f"power_param {{ {settings} }}", x)

    expected = elementwise(lambda value: (shift + scale * value) ** power, x)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_a_fractional_power_of_a_negative_value_is_nan_as_in_caffe(run_layer):
    actual = run_layer("Power", "power_param { power: 0.5 }", np.array([[-4.0, 4.0]], np.float32))

    np.testing.assert_array_equal(actual, [[np.nan, 2.0]])


@pytest.mark.parametrize(
    "settings",
    ["scale: 0 shift: -2 power: 0.5", "scale: 0 power: -1", "scale: 0 shift: 1e30 power: 20"],
)
def test_a_constant_power_that_is_no_number_is_refused(load_layer, settings):
    with pytest.raises(
        LayerError, match=r"\(Power\): it is the constant .* \*\* .*, which is not a finite number"
    ):
        load_layer("Power", f"power_param {{ {settings} }}", (1, 3))


@pytest.mark.parametrize(("settings", "limit"), [("", 0.0), ("threshold: 0.5", 0.5)])
def test_threshold_is_one_above_the_limit_and_zero_at_it(run_layer, settings, limit):
    x = random_floats(1, 3, 4)
    x[0, 0] = limit

    actual = run_layer("Threshold", f"threshold_param {{ {settings} }}", x)

    np.testing.assert_array_equal(actual, elementwise(lambda value: float(value > limit), x))


@pytest.mark.parametrize("kind", ["AbsVal", "Exp", "Power", "Threshold", "TanH"])
def test_they_may_overwrite_their_bottom(tmp_path, kind):
    text = net(layer("first", kind, "data", "x"), layer("second", kind, "x", "x"), data=(1, 3))

    assert [entry.type for entry in graph_of(tmp_path, text).layers] == [kind] * 2
