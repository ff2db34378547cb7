import cv2
import numpy as np
import pytest

from tsnd_client.errors import MissingExtra
from tsnd_client.flow.algorithms import Algorithm, make_method


def a_texture(height=64, width=80):
    noise = np.random.default_rng(5).integers(0, 256, (height, width), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_shift_is_found_as_x_then_y(algorithm):
    earlier = a_texture()
    later = np.roll(earlier, (1, 2), axis=(0, 1))  # one down, two to the right

    flow = make_method(algorithm)(earlier, later)

    assert flow.shape == (64, 80, 2)
    assert flow.dtype == np.float32
    assert np.median(flow[8:-8, 8:-8], axis=(0, 1)) == pytest.approx((2, 1), abs=0.05)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_pair_gives_the_same_flow_whatever_came_before(algorithm):
    method, still = make_method(algorithm), a_texture()
    moved = np.roll(still, 3, axis=1)
    first = method(still, moved)

    method(moved, still)

    np.testing.assert_array_equal(method(still, moved), first)


def test_tv_l1_has_the_parameters_of_dense_flow():
    method = cv2.optflow.DualTVL1OpticalFlow.create()

    iterations = method.getOuterIterations() * method.getInnerIterations()
    found = (method.getTau(), method.getLambda(), method.getTheta(), method.getEpsilon())
    assert found == (0.25, 0.15, 0.3, 0.01)
    scales = (method.getScalesNumber(), method.getScaleStep(), method.getWarpingsNumber())
    assert (*scales, iterations) == (5, 0.8, 5, 300)


def test_an_opencv_without_its_contributed_modules_is_told_of(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")

    with pytest.raises(MissingExtra, match=r"without the module optflow.*pip install"):
        make_method(Algorithm.TVL1)
