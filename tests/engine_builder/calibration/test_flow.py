from pathlib import Path

import cv2
import numpy as np
import pytest

from tsnd_builder.calibration.flow import quantise, tv_l1
from tsnd_builder.errors import CalibrationError

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "tsn" / "flow_quant"


@pytest.mark.parametrize(
    ("displacement", "value"),
    [
        (0.0, 128),  # 127.5, to even
        (-0.0, 128),
        (1.0, 134),  # 133.875
        (-0.5, 124),  # 124.3125
        (-1.0, 121),  # 121.125
        (20.0, 255),
        (-20.0, 0),
        (20.000002, 255),
        (1000.0, 255),
        (-1000.0, 0),
        (np.inf, 255),
        (-np.inf, 0),
        (np.nan, 0),
    ],
)
def test_displacements_are_quantised_as_by_dense_flow(displacement, value):
    assert quantise(np.array([displacement], np.float32)).tolist() == [value]


def test_halves_are_rounded_to_even():
    bound = 127.5  # then a value is its displacement and 127.5

    assert quantise(np.array([-127.0, -126.0, -125.0]), bound).tolist() == [0, 2, 2]


@pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the full golden data does not lie beside this repository"
)
@pytest.mark.parametrize("bound", [15, 16, 20, 32])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_fields_are_quantised_exactly_as_by_dense_flow(bound, axis):
    with np.load(GOLDEN / "flow_quant.npz") as golden:
        flow, expected = golden[f"b{bound}_flow_{axis}"], golden[f"b{bound}_img_{axis}"]

    np.testing.assert_array_equal(quantise(flow, bound), expected)


def test_flow_is_how_far_things_moved_from_the_earlier_frame_to_the_later(texture):
    earlier, later = texture[20:68, 20:84], texture[22:70, 17:81]  # moved by 3 and -2

    flow = tv_l1()(earlier, later)

    assert flow.shape == (48, 64, 2)
    assert np.median(flow, axis=(0, 1)) == pytest.approx([3, -2], abs=0.5)


def test_opencv_without_its_contributed_modules_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")

    with pytest.raises(CalibrationError, match=r"without the module optflow.*tsnd\[calibration\]"):
        tv_l1()
