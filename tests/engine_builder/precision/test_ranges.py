import numpy as np
import pytest

from tsnd_builder.precision.ranges import largest_values
from tsnd_builder.serving_graph import Modality, ServingSpec, build_crops_model

MEAN = (104.0, 117.0, 123.0)


@pytest.fixture
def crops_model():
    """The preprocessing of one crop of 2 x 2 out of frames of 2 x 4."""
    return build_crops_model(ServingSpec(Modality.RGB, 3, 2, 4, 2, 1, MEAN))


def grey(*levels):
    return np.stack([np.full((2, 4, 3), level, np.uint8) for level in levels])


def test_the_largest_magnitude_of_every_float_value_is_found(crops_model):
    largest = dict(largest_values(crops_model, [grey(100, 120)]))

    assert {largest.pop("pixels"), largest.pop("planes")} == {120}
    assert largest == {"centred": 23, "crop_0_1": 23, "crops": 23}


def test_values_outside_the_crop_count_only_before_it(crops_model):
    frames = grey(104)
    frames[0, 0, 0] = 255

    largest = largest_values(crops_model, [frames])

    assert (largest["centred"], largest["crops"]) == (151, 19)


@pytest.mark.parametrize("place", range(6))
def test_no_frame_is_passed_over_even_in_a_batch_that_is_not_full(crops_model, place):
    levels = [104] * 6
    levels[place] = 255

    assert largest_values(crops_model, [grey(*levels)])["crops"] == 151


def test_all_sets_of_frames_count(crops_model):
    assert largest_values(crops_model, [grey(10), grey(0), grey(20)])["crops"] == 123


def test_the_model_given_is_not_changed(crops_model):
    before = crops_model.SerializeToString()

    largest_values(crops_model, [grey(1)])

    assert crops_model.SerializeToString() == before
