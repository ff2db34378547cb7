import numpy as np
import pytest

from tests.builders import layer, net, run_onnx, tiny_blobs, tiny_net
from tsnd_builder.precision.float_islands import (
    BEHIND_NETWORK,
    EARLY,
    OUT_OF_RANGE,
    UNSUITED,
    choose_float_nodes,
)
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.rounding import with_roundings
from tsnd_builder.probes import extreme_frames
from tsnd_builder.serving_graph import Modality

LARGEST_PIXEL = 255 - 104
FC = "inner_product_param { num_output: 2 }"
PAST_ROUNDING = 1e9
"""An error that only infinities exceed."""


@pytest.fixture
def choose(serve):
    """Choose the nodes of a net by extreme frames; names are without `network/`."""

    def choose_nodes(*layers, blobs=None, last, features, max_error=PAST_ROUNDING):
        rng = np.random.default_rng(0)
        fc = {"fc": [0.01 * rng.normal(size=(2, features)), np.zeros(2)]}
        text = net(*layers, layer("fc", "InnerProduct", last, "fc", FC), data=(1, 3, 14, 14))
        probes = [extreme_frames((16, 21, 3), Modality.RGB)]
        model = serve(text, {**fc, **(blobs or {})})
        chosen = choose_float_nodes(model, probes, max_error=max_error)
        return {name.removeprefix("network/"): reason for name, reason in chosen.items()}

    return choose_nodes


def power(name, bottom, settings):
    return layer(name, "Power", bottom, name, f"power_param {{ {settings} }}")


def pool(name, bottom, settings):
    return layer(name, "Pooling", bottom, name, f"pooling_param {{ {settings} }}")


def chosen_for(chosen, reason):
    return {name for name, why in chosen.items() if why == reason}


@pytest.mark.parametrize(
    ("largest", "expected"), [(16_000, set()), (16_700, {"up", "same", "down"})]
)
def test_a_value_within_a_factor_of_four_of_the_largest_keeps_its_nodes(choose, largest, expected):
    scale = largest / LARGEST_PIXEL
    chain = [power("up", "data", f"scale: {scale}"), layer("same", "ReLU", "up", "same")]

    chosen = choose(*chain, power("down", "same", "scale: 1e-3"), last="down", features=588)

    assert chosen_for(chosen, OUT_OF_RANGE) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("pool: AVE kernel_size: 3 stride: 2", {"pool"}),
        ("pool: AVE global_pooling: true", {"pool"}),
        ("pool: AVE kernel_size: 2 stride: 2", set()),
        ("pool: MAX kernel_size: 3 stride: 2", set()),
        ("pool: MAX global_pooling: true", set()),
    ],
)
def test_an_average_is_kept_when_its_sum_may_overflow(choose, settings, expected):
    up = power("up", "data", f"scale: {3000 / LARGEST_PIXEL}")
    features = 3 if "global" in settings else 147

    chosen = choose(up, pool("pool", "up", settings), last="pool", features=features)

    assert chosen_for(chosen, OUT_OF_RANGE) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(1e-6, {"conv"}), (1e-4, set()), (0.0, set()), (1e5, {"conv"})]
)
def test_weights_outside_the_range_of_fp16_keep_their_layer(choose, size, expected):
    conv = layer("conv", "Convolution", "tiny", "c", "convolution_param { num_output: 1 }")
    conv = conv.replace("num_output", "kernel_size: 1 num_output")
    weight = size * np.array([1.0, 1e-3, -1.0]).reshape(1, 3, 1, 1)
    start = [power("tiny", "data", "scale: 1e-3"), conv]

    chosen = choose(*start, blobs={"conv": [weight, np.zeros(1)]}, last="c", features=196)

    assert chosen_for(chosen, OUT_OF_RANGE) & {"conv"} == expected


@pytest.mark.parametrize("scale", ["1e6", "1e-6"])
def test_a_factor_outside_the_range_of_fp16_keeps_its_node(choose, scale):
    size = "1e-6" if scale == "1e6" else "10"
    start = [layer("s", "Sigmoid", "data", "s"), power("half", "s", "shift: -0.5 scale: 1")]
    chain = [power("a", "half", f"scale: {size}"), power("b", "a", f"scale: {scale}")]

    chosen = choose(*start, *chain, last="b", features=588)

    assert "b" in chosen_for(chosen, OUT_OF_RANGE)


@pytest.mark.parametrize(
    "unsuited",
    [
        layer("x", "Softmax", "data", "x"),
        layer("x", "BNLL", "data", "x"),
        layer("x", "LRN", "data", "x", "lrn_param { local_size: 3 }"),
        layer("x", "Exp", "data", "x", "exp_param { scale: 0.001 }"),
    ],
    ids=["softmax", "bnll", "lrn", "exp"],
)
def test_operators_that_fp16_does_not_suit_are_kept(choose, unsuited):
    relu = layer("r", "ReLU", "x", "r")

    chosen = choose(unsuited, relu, last="r", features=588)

    assert "x" in chosen_for(chosen, UNSUITED)
    assert "r" not in chosen


def test_all_that_stands_behind_the_network_is_kept(tiny):
    probes = [extreme_frames((16, 21, 3), Modality.RGB)]

    chosen = choose_float_nodes(tiny, probes, max_error=PAST_ROUNDING)

    assert chosen == dict.fromkeys(
        ["scores/by_crop", "scores/crop_fusion", "features/by_crop", "features/crop_fusion"],
        BEHIND_NETWORK,
    )


CONV = "convolution_param { num_output: 3 kernel_size: 1 }"
SENSITIVE = [
    layer("a", "Convolution", "data", "a", CONV),
    power("back", "a", "shift: -2048"),
    layer("b", "Convolution", "back", "b", CONV),
    layer("c", "Convolution", "b", "c", CONV),
]
"""The first layer's results are near 2048, where FP16 has steps of 1 or 2."""
SHIFT = {
    "a": [np.eye(3).reshape(3, 3, 1, 1), np.full(3, 2048.0)],
    "b": [np.eye(3).reshape(3, 3, 1, 1), np.zeros(3)],
    "c": [np.eye(3).reshape(3, 3, 1, 1), np.zeros(3)],
}


def test_first_layers_are_kept_until_the_error_is_small_enough(choose):
    chosen = choose(*SENSITIVE, blobs=SHIFT, last="c", features=588, max_error=2e-3)

    assert chosen_for(chosen, EARLY) >= {"subtract_mean", "a", "back"}
    assert not chosen_for(chosen, EARLY) & {"b", "c", "fc"}


def test_no_more_layers_are_kept_than_the_error_demands(choose):
    chosen = choose(*SENSITIVE, blobs=SHIFT, last="c", features=588, max_error=0.1)

    assert set(chosen.values()) == {BEHIND_NETWORK}


def test_an_error_that_nothing_meets_keeps_everything(serve):
    model = serve(tiny_net(), tiny_blobs())
    probes = [extreme_frames((16, 21, 3), Modality.RGB)]

    chosen = choose_float_nodes(model, probes, max_error=0.0)

    assert set(chosen) == {node.name for node in model.graph.node}


def test_the_chosen_nodes_hold_the_error_they_were_chosen_for(tiny, frames):
    chosen = choose_float_nodes(tiny, [frames], max_error=3e-4)

    expected = run_onnx(tiny, {"snippets": frames})
    found = run_onnx(with_roundings(to_half(tiny, float_nodes=chosen)), {"snippets": frames})
    assert EARLY in chosen.values()
    for output, values in expected.items():
        assert np.abs(found[output] - values).max() <= 3e-4 * np.abs(values).max()


def test_the_error_counts_on_every_set_of_frames_alone(serve):
    fc = {"fc": [np.random.default_rng(0).normal(size=(2, 588)), np.zeros(2)]}
    text = net(*SENSITIVE, layer("fc", "InnerProduct", "c", "fc", FC), data=(1, 3, 14, 14))
    model = serve(text, {**SHIFT, **fc})
    wild = extreme_frames((16, 21, 3), Modality.RGB)
    calm = np.full((1, 16, 21, 3), (104, 117, 124), np.uint8)  # the mean, but for one

    on_wild, on_both = (
        choose_float_nodes(model, probes, max_error=0.1) for probes in ([wild], [wild, calm])
    )

    assert EARLY not in on_wild.values()
    assert EARLY in on_both.values()


def test_results_that_are_no_numbers_count_as_too_far_off(choose):
    root = power("root", "data", "power: 0.5")  # NaN for pixels below the mean

    chosen = choose(root, last="root", features=588)

    assert {"subtract_mean", "fc"} <= chosen_for(chosen, EARLY)
