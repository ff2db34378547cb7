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
    three = [random_floats(2, 3, 3, 3, 3), random_floats(3, 3)]
    return {
        "conv": conv_blobs(rng),
        "three": three,
        "bn": bn_blobs(rng, 4),
        "bn2": bn_blobs(rng, 4),
    }


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


BATCH_NORM = layer("norm", "BatchNorm", "c", "n")
SCALE = layer("scale", "Scale", "n", "s")
SCALE_AND_BIAS = layer("scale", "Scale", "n", "s", "scale_param { bias_term: true }")


@pytest.fixture
def affine(blobs):
    """Add weights of BatchNorm, Scale and Bias layers of four channels."""
    blobs["norm"] = [random_floats(6, 4), np.abs(random_floats(7, 4)) + 0.5, np.array([1.0])]
    blobs["scale"] = [random_floats(8, 4), random_floats(9, 4)]
    blobs["bias"] = [random_floats(10, 4)]
    return blobs


@pytest.mark.parametrize("factor", [1.0, 2.5])
@pytest.mark.parametrize("scale", [SCALE, SCALE_AND_BIAS], ids=["scale", "scale_and_bias"])
def test_batch_norm_and_the_scale_behind_it_are_both_folded(
    types_after_folding, affine, scale, factor
):
    affine["norm"][2][:] = factor
    affine["scale"] = affine["scale"][: 1 + (scale is SCALE_AND_BIAS)]

    assert types_after_folding(CONV, BATCH_NORM, scale) == ["Convolution"]


def test_batch_norm_and_scale_in_place_are_folded(types_after_folding, affine):
    affine["scale"] = affine["scale"][:1]
    chain = [layer("norm", "BatchNorm", "c", "c"), layer("scale", "Scale", "c", "c")]

    types = types_after_folding(CONV, *chain, layer("r", "ReLU", "c", "c"))

    assert types == ["Convolution", "ReLU"]


@pytest.mark.parametrize(
    "behind",
    [
        [layer("bias", "Bias", "c", "o")],
        [layer("scale", "Scale", "c", "o", "scale_param { bias_term: true }")],
        [layer("scale", "Scale", "c", "o", "scale_param { axis: -3 bias_term: true }")],
        [layer("bias", "Bias", "c", "m"), layer("bn", "BN", "m", "o")],
        [BN, layer("bias", "Bias", "b", "m"), layer("norm", "BatchNorm", "m", "o")],
    ],
    ids=["bias", "scale", "negative_axis", "bias_bn", "bn_bias_norm"],
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_any_chain_of_affine_layers_is_folded(types_after_folding, affine, behind, has_bias):
    affine["conv"] = affine["conv"][: 1 + has_bias]
    conv = CONV.replace("kernel_size", f"bias_term: {str(has_bias).lower()} kernel_size")

    assert types_after_folding(conv, *behind) == ["Convolution"]


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)], ids=str)
def test_scale_and_bias_are_folded_into_an_inner_product(types_after_folding, affine, shape):
    affine["fc"] = [random_floats(3, 4, int(np.prod(shape))), random_floats(4, 4)]
    fc = layer("fc", "InnerProduct", "data", "n", "inner_product_param { num_output: 4 }")
    bias = layer("bias", "Bias", "s", "o")

    types = types_after_folding(
        fc, SCALE_AND_BIAS, bias, image=random_floats(5, 2, *shape), data=(1, *shape)
    )

    assert types == ["InnerProduct"]


@pytest.mark.parametrize("blob", ["c", "n"])
def test_a_chain_is_folded_up_to_a_blob_that_is_asked_for(types_after_folding, affine, blob):
    types = types_after_folding(CONV, BATCH_NORM, SCALE_AND_BIAS, keep=[blob, "s"])

    assert (
        types == {"c": ["Convolution", "BatchNorm", "Scale"], "n": ["Convolution", "Scale"]}[blob]
    )


@pytest.mark.parametrize("blob", ["c", "n"])
def test_a_chain_is_folded_up_to_a_blob_that_is_read_twice(types_after_folding, affine, blob):
    types = types_after_folding(CONV, BATCH_NORM, SCALE_AND_BIAS, layer("r", "ReLU", blob, "r"))

    left = {"c": ["Convolution", "BatchNorm", "Scale"], "n": ["Convolution", "Scale"]}[blob]
    assert types == [*left, "ReLU"]


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ("axis: 2", (6,)),
        ("axis: 3", (6,)),
        ("num_axes: 2", (4, 6)),
        ("num_axes: -1", (4, 6, 6)),
        ("num_axes: 0", ()),
    ],
)
def test_a_scale_along_other_axes_than_the_channels_stays(
    types_after_folding, affine, settings, shape
):
    affine["scale"] = [random_floats(8, *shape)]
    scale = layer("scale", "Scale", "c", "n", f"scale_param {{ {settings} }}")

    types = types_after_folding(CONV, scale, layer("bn", "BN", "n", "o"))

    assert types == ["Convolution", "Scale", "BN"]


@pytest.mark.parametrize(("kind", "block"), [("Scale", "scale"), ("Bias", "bias")])
def test_an_operand_that_is_another_blob_stays(types_after_folding, kind, block):
    pool = layer("p", "Pooling", "data", "p", "pooling_param { global_pooling: true }")
    flat = layer("f", "Flatten", "p", "f", "")
    conv = CONV.replace("num_output: 4", "num_output: 3")
    both = layer("both", kind, "c f", "o", f"{block}_param {{ axis: 0 }}")
    conv = conv.replace('name: "conv"', 'name: "three"')

    types = types_after_folding(pool, flat, conv, both)

    assert types == ["Pooling", "Flatten", "Convolution", kind]


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_an_operand_per_channel_that_is_an_input_stays(tmp_path, blobs, kind):
    both = layer("both", kind, "c by", "o")
    graph = graph_of(tmp_path, net(CONV, both, data=(1, 3, 8, 8), by=(4,)), blobs)

    folded = fold_affine(graph, keep=graph.outputs)

    assert [la.type for la in folded.layers] == ["Convolution", kind]


def test_a_convolution_is_not_folded_through_the_second_bottom(types_after_folding, affine):
    affine["fc"] = [random_floats(3, 4, 192), random_floats(4, 4)]
    fc = layer("fc", "InnerProduct", "data", "f", "inner_product_param { num_output: 4 }")
    both = layer("both", "Scale", "c f", "o", "scale_param { axis: 0 }")

    assert types_after_folding(CONV, fc, both) == ["Convolution", "InnerProduct", "Scale"]


def test_an_affine_layer_on_the_input_stays(types_after_folding, affine):
    affine["bias"] = [random_floats(8, 3)]

    assert types_after_folding(layer("bias", "Bias", "data", "o")) == ["Bias"]


def test_an_affine_layer_behind_a_deconvolution_stays(types_after_folding, affine):
    affine["up"] = [random_floats(3, 3, 4, 2, 2), random_floats(4, 4)]
    settings = "convolution_param { num_output: 4 kernel_size: 2 stride: 2 }"

    types = types_after_folding(layer("up", "Deconvolution", "data", "c", settings), BN)

    assert types == ["Deconvolution", "BN"]


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
