import numpy as np
import pytest

from tsnd_client import Modality
from tsnd_client.fusion import KINETICS_WEIGHTS, UCF101_WEIGHTS, FusionWeights, fuse

RGB, FLOW = Modality.RGB, Modality.FLOW


def test_streams_are_added_with_their_weights_before_softmax():
    video = fuse({RGB: [1.0, 2.0], FLOW: [4.0, 0.0]}, UCF101_WEIGHTS)

    assert video.scores.tolist() == [7.0, 2.0]
    assert video.modalities == (RGB, FLOW)
    assert not video.is_partial
    assert video.probabilities.sum() == pytest.approx(1)


def test_a_video_with_one_stream_says_so_and_keeps_its_scores():
    video = fuse({RGB: None, FLOW: [4.0, 0.0]}, UCF101_WEIGHTS)

    assert video.scores.tolist() == [4.0, 0.0]
    assert (video.modalities, video.missing, video.is_partial) == ((FLOW,), (RGB,), True)


def test_a_modality_that_nobody_asked_for_is_not_missing():
    assert not fuse({RGB: [1.0]}).is_partial


def test_fusing_nothing_is_refused():
    with pytest.raises(ValueError, match="no scores"):
        fuse({RGB: None, FLOW: None})


def test_streams_of_different_classes_are_refused():
    with pytest.raises(ValueError, match=r"rgb \(2,\), flow \(3,\)"):
        fuse({RGB: np.zeros(2), FLOW: np.zeros(3)})


@pytest.mark.parametrize("weights", [(0, 0), (-1, 1), (1, float("inf")), (float("nan"), 1)])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="not both 0"):
        FusionWeights(*weights)


def test_a_weight_of_0_leaves_a_stream_out_of_the_sum():
    assert fuse({RGB: [1.0], FLOW: [9.0]}, FusionWeights(1, 0)).scores.tolist() == [1.0]
    assert FusionWeights() == KINETICS_WEIGHTS
