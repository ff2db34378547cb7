import numpy as np

from tsnd_client import Modality
from tsnd_client.fusion import FusionWeights
from tsnd_client.videos.rolling import RollingScores

RGB, FLOW = Modality.RGB, Modality.FLOW


def scores(*values):
    return np.array(values, np.float32)


def test_scores_of_the_window_are_averaged_and_older_ones_forgotten():
    rolling = RollingScores((RGB,), window_s=2.0)

    assert rolling.add(RGB, 0.0, scores(4, 0)).scores.tolist() == [4, 0]
    assert rolling.add(RGB, 2.0, scores(0, 2)).scores.tolist() == [2, 1]
    assert rolling.add(RGB, 3.0, scores(0, 4)).scores.tolist() == [0, 3]


def test_modalities_are_fused_and_one_that_has_not_come_yet_is_missing():
    rolling = RollingScores((RGB, FLOW), window_s=9.0, weights=FusionWeights(1, 2))

    first = rolling.add(RGB, 0.0, scores(1, 0))
    assert (first.scores.tolist(), first.missing) == ([1, 0], (FLOW,))
    both = rolling.add(FLOW, 0.1, scores(0, 3))
    assert (both.scores.tolist(), both.missing) == ([1, 6], ())


def test_a_modality_that_stays_away_goes_missing_again():
    rolling = RollingScores((RGB, FLOW), window_s=1.0)
    rolling.add(FLOW, 0.0, scores(0, 3))

    assert rolling.add(RGB, 5.0, scores(1, 0)).missing == (FLOW,)
