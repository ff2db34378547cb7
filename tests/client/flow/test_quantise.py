import math
from pathlib import Path

import numpy as np
import pytest

from tsnd_client.flow.quantise import dequantise, quantise

GOLDEN = Path(__file__).parents[4] / "shared/golden/tsn/flow_quant/flow_quant.npz"


def test_no_displacement_is_128():
    assert quantise(np.zeros(1)) == 128


@pytest.mark.parametrize(
    ("pixels", "level"),
    [
        (20.0, 255),
        (20.001, 255),
        (-20.0, 0),
        (-21.0, 0),
        (math.inf, 255),
        (-math.inf, 0),
        (math.nan, 0),
        (0.156862, 128),  # 128.499995
        (0.156864, 129),  # 128.500008
        (10.0, 191),  # 191.25
        (-10.0, 64),  # 63.75
    ],
)
def test_a_displacement_becomes_the_nearest_level(pixels, level):
    assert quantise(np.array([pixels])) == level


def test_halves_go_to_the_even_level():
    at_bound = 127.5  # then a level is a pixel

    levels = quantise(np.array([-127.0, -126.0, -125.0, 0.0]), bound=at_bound)

    assert levels.tolist() == [0, 2, 2, 128]


def test_float32_is_computed_with_in_double_precision():
    value = np.float32(2.7450981)

    assert quantise(np.array([value])) == round(255 * (float(value) + 20) / 40)


def test_the_way_back_is_right_to_half_a_level():
    pixels = np.linspace(-20, 20, 1001)

    back = dequantise(quantise(pixels))

    assert back.dtype == np.float64
    assert np.abs(back - pixels).max() <= 20 / 255 + 1e-12


def test_the_levels_are_those_of_the_original_code():
    if not GOLDEN.exists():
        pytest.skip("needs the reference data beside the checkout: ../shared/golden")
    golden = np.load(GOLDEN)
    names = [name for name in golden.files if "_flow_" in name]
    assert len(names) >= 8

    for name in names:
        bound = float(name.split("_")[0].removeprefix("b"))
        expected = golden[name.replace("_flow_", "_img_")]
        np.testing.assert_array_equal(quantise(golden[name], bound), expected)
