import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_net,
    write_prototxt,
)
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import BuilderError, GraphError, LayerError, PrototxtError

IMAGE = random_floats(1, 2, 3, 8, 8)
LEAKY = "relu_param { negative_slope: 0.5 }"


def relu(name, bottom, top, settings=""):
    return layer(name, "ReLU", bottom, top, settings)


def leaky(x):
    return np.where(x > 0, x, np.float32(0.5) * x)


@pytest.fixture
def load(tmp_path):
    """Load a net of these layers, which need no weights."""

    def load_net(*layers, **inputs):
        return graph_of(tmp_path, net(*layers, **inputs))

    return load_net


def test_an_in_place_chain_makes_a_value_per_write_and_the_last_has_the_blobs_name(load):
    graph = load(
        layer("p", "Pooling", "data", "x", "pooling_param { kernel_size: 2 }"),
        relu("r", "x", "x"),
        layer("d", "Dropout", "x", "x"),
        layer("s", "Softmax", "x", "x"),
        relu("out", "x", "y"),
    )

    assert [(la.bottoms[0].name, la.tops[0].name) for la in graph.layers] == [
        ("data", "x@p"),
        ("x@p", "x@r"),
        ("x@r", "x"),
        ("x", "y"),
    ]
    assert graph.blobs["x"].name == "x"


def test_an_in_place_chain_computes_all_its_steps(tmp_path):
    text = net(
        relu("a", "data", "x", LEAKY), relu("b", "x", "x", LEAKY), relu("c", "x", "x", LEAKY)
    )

    actual = run_net(tmp_path, text, {"data": IMAGE})["x"]

    assert max_relative_error(actual, leaky(leaky(leaky(IMAGE)))) < FLOAT32_TOLERANCE


def test_layers_without_weights_may_share_a_name(tmp_path):
    text = net(*[relu("same", bottom, "x", LEAKY) for bottom in ("data", "x", "x", "x")])

    actual = run_net(tmp_path, text, {"data": IMAGE})["x"]

    assert max_relative_error(actual, leaky(leaky(leaky(leaky(IMAGE))))) < FLOAT32_TOLERANCE


def test_a_blob_may_be_called_like_a_value_within_a_chain(tmp_path):
    text = net(relu("r", "data", "x", LEAKY), relu("s", "x", "x", LEAKY), relu("t", "x", "x@r"))

    actual = run_net(tmp_path, text, {"data": IMAGE})["x@r"]

    np.testing.assert_array_equal(actual, np.maximum(IMAGE, 0))


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([relu("a", "data", "data", LEAKY)], leaky(IMAGE)),
        ([relu("a", "data", "data", LEAKY), relu("b", "data", "data", LEAKY)], leaky(leaky(IMAGE))),
        ([layer("d", "Dropout", "data", "data"), relu("a", "data", "data", LEAKY)], leaky(IMAGE)),
        ([relu("a", "data", "data", LEAKY), layer("d", "Dropout", "data", "data")], leaky(IMAGE)),
        ([layer("d", "Dropout", "data", "data")], IMAGE),
    ],
    ids=["once", "twice", "dropout_first", "dropout_last", "dropout_alone"],
)
def test_layers_may_overwrite_the_input(tmp_path, first, expected):
    text = net(*first, relu("out", "data", "out", "relu_param { negative_slope: 1 }"))

    actual = run_net(tmp_path, text, {"data": IMAGE})["out"]

    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_an_overwritten_blob_that_was_read_is_refused(load):
    with pytest.raises(
        LayerError, match=r"'c' \(ReLU\): it overwrites 'x', which an earlier layer has read"
    ):
        load(relu("a", "data", "x"), relu("b", "x", "y"), relu("c", "x", "x"))


def test_an_input_that_was_read_cannot_be_overwritten(load):
    with pytest.raises(LayerError, match=r"'b' \(ReLU\): it overwrites 'data'"):
        load(relu("a", "data", "x"), relu("b", "data", "data"))


def test_a_copy_by_dropout_does_not_follow_the_original(tmp_path):
    text = net(
        relu("a", "data", "x", LEAKY), layer("d", "Dropout", "x", "copy"), relu("b", "copy", "copy")
    )

    model_outputs = run_net(tmp_path, text, {"data": IMAGE})

    np.testing.assert_array_equal(model_outputs["copy"], np.maximum(IMAGE, 0))


def test_a_layer_that_works_elsewhere_only_is_refused_in_place(load):
    with pytest.raises(LayerError, match="a Pooling cannot overwrite its own bottom 'data'"):
        load(layer("p", "Pooling", "data", "data", "pooling_param { kernel_size: 1 }"))


def test_a_top_that_exists_already_is_refused(load):
    with pytest.raises(LayerError, match=r"'b' \(ReLU\): its top 'x' exists already"):
        load(relu("a", "data", "x"), relu("b", "data", "x"))


def test_a_top_named_like_an_input_is_refused(load):
    with pytest.raises(LayerError, match="its top 'other' exists already and is not its bottom"):
        load(relu("a", "data", "other"), data=(1, 3), other=(1, 3))


def test_a_top_that_is_written_twice_by_one_layer_is_refused(load):
    settings = "convolution_param { num_output: 1 kernel_size: 1 }"

    with pytest.raises(LayerError, match="it writes 'x' twice"):
        load(layer("c", "Convolution", "data data", "x x", settings))


def test_a_top_without_a_name_is_refused(load):
    with pytest.raises(LayerError, match="name of its top is empty"):
        load('layer { name: "r" type: "ReLU" bottom: "data" top: "" }')


def test_a_bottom_that_nobody_made_is_refused_with_those_there_are(load):
    with pytest.raises(
        LayerError, match=r"'b' \(ReLU\): its bottom 'y' .*\(the last ones: data, x\)"
    ):
        load(relu("a", "data", "x"), relu("b", "y", "z"))


def test_a_bottom_that_is_made_later_is_refused(load):
    with pytest.raises(LayerError, match="its bottom 'x' is neither an input nor the top"):
        load(relu("a", "x", "y"), relu("b", "data", "x"))


def test_two_layers_with_weights_and_one_name_are_refused(tmp_path):
    fc = "inner_product_param { num_output: 3 bias_term: false }"
    text = net(
        layer("fc", "InnerProduct", "data", "x", fc),
        layer("fc", "InnerProduct", "x", "y", fc),
        data=(1, 3),
    )

    with pytest.raises(LayerError, match="another layer with weights has the same name"):
        graph_of(tmp_path, text, {"fc": [np.eye(3)]})


def test_a_layer_without_a_name_is_refused(load):
    with pytest.raises(LayerError, match="it has no name, by which its weights could be found"):
        load('layer { type: "ReLU" bottom: "data" top: "x" }')


@pytest.mark.parametrize("kind", ["LSTM", "relu", "CONVOLUTION", ""])
def test_an_unknown_layer_type_is_refused_with_a_way_out(load, kind):
    with pytest.raises(
        LayerError, match=rf"layer type '{kind}' cannot be converted.*include {{ phase: TRAIN }}"
    ):
        load(layer("odd", kind, "data", "x"))


def test_layers_of_the_training_net_are_left_out(load):
    graph = load(
        layer("loss", "SoftmaxWithLoss", "data label", "loss", "include { phase: TRAIN }"),
        relu("r", "data", "x", "exclude { phase: TRAIN }"),
        relu("train", "data", "x", "exclude { phase: TEST }"),
    )

    assert [la.name for la in graph.layers] == ["r"]


def test_a_net_whose_layers_are_all_for_training_is_refused(load):
    with pytest.raises(GraphError, match=r"net\.prototxt has no layers in the TEST phase"):
        load(relu("r", "data", "x", "include { phase: TRAIN }"))


def test_both_kinds_of_rules_in_one_layer_are_refused_with_the_file(load):
    with pytest.raises(
        PrototxtError, match=r"net\.prototxt: layer 'r' has both include and exclude"
    ):
        load(relu("r", "data", "x", "include { } exclude { }"))


RELU = relu("r", "data", "x")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("", "declares no input.*deploy file"),
        ('input: "data"', r"names 1 input\(s\); it needs an input_shape per input, and has 0"),
        ('input: "data" input_dim: [1, 3, 8]', "needs 4 input_dim lines, 4 per input, and has 3"),
        ('input: ["data", "b"] input_dim: [1, 3, 8, 8]', "needs 8 input_dim lines.*has 4"),
        (
            'input: ["data", "b"] input_shape { dim: 1 }',
            "needs an input_shape per input, and has 1",
        ),
        (
            'input: "data" input_dim: [1, 3, 8, 8] input_shape { dim: [1, 3, 8, 8] }',
            "both input_shape and input_dim",
        ),
        (
            'input: ["data", "data"] input_shape { dim: 1 } input_shape { dim: 1 }',
            "names an input twice: data, data",
        ),
        ('input: "data" input_shape { }', r"input 'data' has the shape \[\]"),
        ('input: "data" input_shape { dim: [1, 0] }', r"shape \[1, 0\]; use sizes >= 1"),
        ('input: "data" input_dim: [1, 3, -1, 8]', r"shape \[1, 3, -1, 8\]"),
    ],
)
def test_inputs_that_do_not_pair_with_shapes_are_refused(tmp_path, head, reason):
    prototxt = write_prototxt(tmp_path, f"{head}\n{RELU}")

    with pytest.raises(PrototxtError, match=rf"net\.prototxt.* {reason}"):
        load_graph(prototxt, None)


@pytest.mark.parametrize(
    "head",
    [
        'input: ["a", "b"] input_dim: [9, 3, 4, 5, 1, 6, 7, 8]',
        'input: "a" input: "b" input_shape { dim: [9, 3, 4, 5] } input_shape { dim: [1, 6, 7, 8] }',
    ],
)
def test_inputs_are_paired_in_order_and_their_batch_is_open(tmp_path, head):
    graph = load_graph(write_prototxt(tmp_path, head + relu("r", "a", "x")), None)

    assert [(value.name, value.shape) for value in graph.inputs] == [
        ("a", ("N", 3, 4, 5)),
        ("b", ("N", 6, 7, 8)),
    ]


def test_outputs_are_the_blobs_that_nobody_reads_in_the_order_of_their_making(load):
    graph = load(
        relu("a", "data", "x"),
        relu("b", "x", "late"),
        relu("c", "x", "y"),
        relu("d", "y", "y"),
        relu("e", "late", "late"),
    )

    assert graph.outputs == ("late", "y")


def test_a_blob_that_dropout_passes_on_holds_its_bottoms_value(load):
    graph = load(relu("a", "data", "x"), layer("d", "Dropout", "x", "y"))

    assert graph.blobs["y"] == graph.blobs["x"]
    assert graph.outputs == ("y",)


def test_consumers_are_listed_by_the_value_they_read(load):
    graph = load(relu("a", "data", "x"), relu("b", "x", "y"), layer("c", "Concat", "x y", "z"))

    readers = {value: [la.name for la in layers] for value, layers in graph.consumers().items()}

    assert readers == {"data": ["a"], "x": ["b", "c"], "y": ["c"]}


def test_only_the_layers_that_a_blob_depends_on_are_needed_for_it(load):
    graph = load(relu("a", "data", "x"), relu("b", "x", "y"), relu("c", "data", "z"))

    assert [la.name for la in graph.needed_for(("y",))] == ["a", "b"]
    assert [la.name for la in graph.needed_for(("z",))] == ["c"]


def test_the_graph_knows_its_net_and_file(tmp_path):
    graph = graph_of(tmp_path, net(RELU))

    assert (graph.name, graph.source) == ("small", tmp_path / "net.prototxt")


def test_a_net_without_a_fault_in_its_text_may_still_lack_its_files(tmp_path):
    prototxt = write_prototxt(tmp_path, net(RELU))

    with pytest.raises(BuilderError, match=r"missing\.caffemodel: No such file"):
        load_graph(prototxt, tmp_path / "missing.caffemodel")
