import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tsnd_builder.precision.accuracy import (
    CLEAR_MARGIN,
    WORST,
    LayerNoise,
    compare_scores,
    layer_noise,
    measure_accuracy,
)
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.int8 import Int8Options, Recipe, quantize

LAYERS = ["conv1/3x3_s2", "inception/1x1", "inception/pool_proj", "fc-action"]


def scores(*rows):
    return np.asarray(rows, np.float32)


def test_the_same_scores_lose_nothing():
    accuracy = compare_scores(scores([1, 2], [4, 3]), scores([1, 2], [4, 3]))

    assert (accuracy.frames, accuracy.top1, accuracy.clear_frames) == (2, 1, 2)
    assert (accuracy.clear_top1, accuracy.drop, accuracy.kl_divergence) == (1, 0, 0)
    assert accuracy.snr_db == 999


def test_kl_divergence_is_that_of_fp32s_probabilities_from_the_lower_ones():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)

    accuracy = compare_scores(scores(np.log(q) + 7), scores(np.log(p) - 3))

    assert accuracy.kl_divergence == pytest.approx(expected, rel=1e-5)


def test_kl_divergence_is_the_mean_over_frames_and_not_symmetric():
    p, q = np.log([0.9, 0.1]), np.log([0.5, 0.5])
    one_way = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)

    accuracy = compare_scores(scores(q, p), scores(p, p))

    assert accuracy.kl_divergence == pytest.approx(one_way / 2, rel=1e-5)


def test_large_scores_do_not_overflow():
    accuracy = compare_scores(scores([1e4, 0.0]), scores([2e4, 0.0]))

    assert accuracy.kl_divergence == 0


def test_signal_to_noise_is_a_ratio_of_powers():
    accuracy = compare_scores(scores([3.0, 3.0], [0.0, 0.0]), scores([3.0, 4.0], [0.0, 0.0]))

    assert accuracy.snr_db == pytest.approx(10 * math.log10(25))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_number_is_all_noise(bad):
    assert compare_scores(scores([bad, 1.0]), scores([2.0, 1.0])).snr_db == -999


def test_a_first_class_is_clear_when_it_leads_by_a_share_of_the_largest_score():
    lead = CLEAR_MARGIN * 8
    expected = scores([8.0, 0.0], [1.0, 1.0 + 0.9 * lead], [1.0, 1.0 + 1.1 * lead])

    accuracy = compare_scores(scores([8, 0], [1, 0], [1, 0]), expected)

    assert accuracy.top1 == pytest.approx(1 / 3)
    assert (accuracy.clear_frames, accuracy.clear_top1, accuracy.drop) == (2, 0.5, 0.5)


def test_without_a_clear_frame_none_is_lost():
    accuracy = compare_scores(scores([1, 0], [0, 1]), scores([1, 1], [2, 2]))

    assert (accuracy.clear_frames, accuracy.clear_top1, accuracy.drop) == (0, 1, 0)
    assert accuracy.top1 == 0.5


def test_a_single_class_is_always_clear_and_never_lost():
    accuracy = compare_scores(scores([1], [2]), scores([5], [-6]))

    assert (accuracy.top1, accuracy.clear_frames, accuracy.drop) == (1, 2, 0)
    assert accuracy.kl_divergence == 0


def test_the_ten_noisiest_layers_are_listed_worst_first():
    layers = [LayerNoise(f"layer {db}", float(db)) for db in (5, 30, 1, *range(40, 50))]

    worst = compare_scores(scores([1, 2]), scores([1, 2]), layers).worst_layers

    assert len(worst) == WORST == 10
    assert [noise.snr_db for noise in worst] == [1, 5, 30, *range(40, 47)]


@pytest.mark.parametrize("recipe", list(Recipe))
def test_every_convolution_and_product_is_measured_in_the_order_of_the_graph(tiny, frames, recipe):
    lower = quantize(tiny, frames[:4], Int8Options())[recipe]

    noise = layer_noise(tiny, lower, frames[4:9], exact_int8=True)

    assert [entry.layer for entry in noise] == [f"network/{name}" for name in LAYERS]
    assert all(20 < entry.snr_db < 80 for entry in noise)


def test_noise_shows_where_it_comes_from(tiny, frames):
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(tiny)
    (weight,) = [t for t in spoilt.graph.initializer if t.name == "network/inception/1x1.weight"]
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    (bias,) = [t for t in spoilt.graph.initializer if t.name == "network/inception/1x1.bias"]
    bias.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(bias), bias.name))

    noise = {n.layer: n.snr_db for n in layer_noise(tiny, spoilt, frames[:3], exact_int8=False)}

    assert noise["network/conv1/3x3_s2"] == noise["network/inception/pool_proj"] == 999
    assert noise["network/inception/1x1"] == pytest.approx(0, abs=1e-6)
    assert noise["network/fc-action"] < 30


def test_fp16_is_measured_by_the_same_means(tiny, frames):
    half = to_half(tiny, float_nodes=[])

    accuracy = measure_accuracy(tiny, half, frames[:5], exact_int8=False)

    assert (accuracy.frames, accuracy.drop) == (5, 0)
    assert 50 < accuracy.snr_db < 999
    assert {noise.layer for noise in accuracy.worst_layers} == {f"network/{n}" for n in LAYERS}
    snrs = [noise.snr_db for noise in accuracy.worst_layers]
    assert snrs == sorted(snrs)
