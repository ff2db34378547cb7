import numpy as np
import pytest
from onnx import numpy_helper

from tests.builders import (
    FLOAT32_TOLERANCE,
    bn_blobs,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_onnx,
    tiny_blobs,
    tiny_net,
)
from tsnd_builder.export import export_onnx
from tsnd_builder.folding import fold_affine

IMAGE = random_floats(1, 2, 3, 8, 8)
CONV = layer(
    "conv", "Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 3 }"
)
BN = layer("bn", "BN", "c", "b")


def conv_blobs(rng):
    return [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)]


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    return {"conv": conv_blobs(rng), "bn": bn_blobs(rng, 4), "bn2": bn_blobs(rng, 4)}


@pytest.fixture
def types_after_folding(tmp_path, blobs):
    """Check that folding changes no result, and list the layer types that it leaves."""

    def fold(*layers, keep=(), image=IMAGE, **shapes):
        text = net(*layers, **(shapes or {"data": (1, 3, 8, 8)}))
        graph = graph_of(tmp_path, text, blobs)
        plain = run_onnx(export_onnx(graph, outputs=keep, keep_bn=True), {"data": image})
        folded = run_onnx(export_onnx(graph, outputs=keep), {"data": image})
        for blob, expected in plain.items():
            assert max_relative_error(folded[blob], expected) < FLOAT32_TOLERANCE
        after = fold_affine(graph, keep=tuple(keep) or graph.outputs)
        return [la.type for la in after.layers]

    return fold


def test_bn_is_folded_into_the_convolution_before_it(types_after_folding):
    assert types_after_folding(CONV, BN) == ["Convolution"]


def test_bn_in_place_is_folded_too(types_after_folding):
    chain = [CONV, layer("bn", "BN", "c", "c"), layer("r", "ReLU", "c", "c")]

    assert types_after_folding(*chain) == ["Convolution", "ReLU"]


def test_a_convolution_without_bias_gets_one(types_after_folding, blobs):
    blobs["conv"] = blobs["conv"][:1]
    conv = CONV.replace("kernel_size", "bias_term: false kernel_size")

    assert types_after_folding(conv, BN) == ["Convolution"]


def test_groups_keep_their_rows(types_after_folding, blobs):
    blobs["conv"] = [random_floats(3, 4, 2, 3, 3), random_floats(4, 4)]
    conv = CONV.replace("kernel_size", "group: 2 kernel_size")

    types = types_after_folding(conv, BN, image=random_floats(5, 2, 4, 8, 8), data=(1, 4, 8, 8))

    assert types == ["Convolution"]


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)], ids=str)
def test_bn_is_folded_into_an_inner_product(types_after_folding, blobs, shape):
    blobs["fc"] = [random_floats(3, 4, int(np.prod(shape))), random_floats(4, 4)]
    fc = layer("fc", "InnerProduct", "data", "c", "inner_product_param { num_output: 4 }")

    types = types_after_folding(fc, BN, image=random_floats(5, 2, *shape), data=(1, *shape))

    assert types == ["InnerProduct"]


def test_bn_behind_an_inner_product_that_keeps_several_axes_stays(types_after_folding, blobs):
    blobs["fc"] = [random_floats(3, 5, 8), random_floats(4, 5)]
    fc = layer("fc", "InnerProduct", "data", "c", "inner_product_param { num_output: 5 axis: 2 }")

    types = types_after_folding(fc, BN, image=random_floats(5, 2, 4, 8), data=(1, 4, 8))

    assert types == ["InnerProduct", "BN"]


def test_bn_is_folded_only_when_nobody_else_reads_the_convolution(types_after_folding):
    other = layer("r", "ReLU", "c", "r")

    assert types_after_folding(CONV, BN, other) == ["Convolution", "BN", "ReLU"]


def test_two_bn_layers_that_share_a_convolution_both_stay(types_after_folding):
    assert types_after_folding(CONV, BN, layer("bn2", "BN", "c", "b2")) == [
        "Convolution",
        "BN",
        "BN",
    ]


def test_bn_stays_when_the_convolution_itself_is_asked_for(types_after_folding):
    assert types_after_folding(CONV, BN, keep=["c", "b"]) == ["Convolution", "BN"]


def test_bn_stays_when_a_copy_of_the_convolution_is_asked_for(types_after_folding):
    copy = layer("d", "Dropout", "c", "copy")

    assert types_after_folding(CONV, copy, BN, keep=["copy", "b"]) == ["Convolution", "BN"]


def test_bn_is_folded_through_a_dropout(types_after_folding):
    chain = [CONV, layer("d", "Dropout", "c", "copy"), layer("bn", "BN", "copy", "b")]

    assert types_after_folding(*chain) == ["Convolution"]


@pytest.mark.parametrize(
    "middle",
    [
        layer("r", "ReLU", "c", "m"),
        layer("p", "Pooling", "c", "m", "pooling_param { pool: AVE kernel_size: 3 pad: 1 }"),
    ],
    ids=["relu", "pool"],
)
def test_bn_is_not_folded_across_another_layer(types_after_folding, middle):
    types = types_after_folding(CONV, middle, layer("bn", "BN", "m", "b"))

    assert types[0] == "Convolution"
    assert types[-1] == "BN"


def test_bn_on_the_input_stays(types_after_folding, blobs):
    blobs["bn"] = bn_blobs(np.random.default_rng(1), 3)

    assert types_after_folding(layer("bn", "BN", "data", "b")) == ["BN"]


def test_two_bn_layers_in_a_row_are_both_folded(types_after_folding):
    assert types_after_folding(CONV, BN, layer("bn2", "BN", "b", "b2")) == ["Convolution"]


def test_bn_behind_a_convolution_of_two_bottoms_stays(tmp_path, blobs):
    conv = CONV.replace('bottom: "data" top: "c"', 'bottom: "data" bottom: "e" top: "c" top: "d"')
    graph = graph_of(tmp_path, net(conv, BN, data=(1, 3, 8, 8), e=(1, 3, 8, 8)), blobs)

    folded = fold_affine(graph, keep=graph.outputs)

    assert [la.type for la in folded.layers] == ["Convolution", "BN"]


def test_folding_leaves_the_graph_it_was_given_alone(tmp_path, blobs):
    graph = graph_of(tmp_path, net(CONV, BN), blobs)
    weight = graph.layers[0].blobs[0].copy()

    fold_affine(graph, keep=graph.outputs)

    assert [la.type for la in graph.layers] == ["Convolution", "BN"]
    np.testing.assert_array_equal(graph.layers[0].blobs[0], weight)


def test_folded_weights_stay_float64_and_the_export_rounds_them_once(tmp_path, blobs):
    graph = graph_of(tmp_path, net(CONV, BN), blobs)
    weight, _ = graph.layers[0].blobs
    slope, _, _, variance = graph.layers[1].blobs
    scale = slope[0].astype(np.float64) / np.sqrt(
        variance[0] + graph.layers[1].parameters.bn_param.eps
    )

    folded = fold_affine(graph, keep=graph.outputs).layers[0].blobs[0]

    expected = weight.astype(np.float64) * scale.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(folded, expected)
    constants = {c.name: numpy_helper.to_array(c) for c in export_onnx(graph).graph.initializer}
    np.testing.assert_array_equal(constants["conv.weight"], expected.astype(np.float32))


def test_a_net_like_tsns_folds_all_its_bn_layers(tmp_path):
    graph = graph_of(tmp_path, tiny_net(), tiny_blobs())
    model, kept = export_onnx(graph), export_onnx(graph, keep_bn=True)
    image = 60 * random_floats(7, 5, 3, 14, 14)

    error = max_relative_error(
        run_onnx(model, {"data": image})["fc-action"], run_onnx(kept, {"data": image})["fc-action"]
    )

    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [node.op_type for node in kept.graph.node].count("BatchNormalization") == 3
    assert error < FLOAT32_TOLERANCE
