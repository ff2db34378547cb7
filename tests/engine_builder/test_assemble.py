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
    run_onnx,
    write_prototxt,
)
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import BuilderError, GraphError, LayerError, PrototxtError
from tsnd_builder.export import export_onnx

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


@pytest.mark.parametrize(
    "idle",
    [
        relu("r", "data", "x", "include { phase: TRAIN }"),
        layer("loss", "SoftmaxWithLoss", "data label", "loss"),
        layer("in", "Input", "", "more", "input_param { shape { dim: 3 } }"),
    ],
    ids=["training_phase", "loss", "input"],
)
def test_a_net_that_computes_nothing_is_refused(load, idle):
    with pytest.raises(GraphError, match=r"net\.prototxt has no layers in the TEST phase"):
        load(idle)


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


def test_the_batch_of_joined_rows_is_a_multiple(load):
    graph = load(
        layer("c", "Concat", "data data data", "c", "concat_param { axis: 0 }"),
        layer("d", "Concat", "c data", "d", "concat_param { axis: 0 }"),
        layer("f", "Flatten", "d", "f", "flatten_param { axis: 0 end_axis: 1 }"),
        data=(9, 2, 5),
    )

    assert [graph.blobs[blob].shape for blob in ("data", "c", "d", "f")] == [
        ("N", 2, 5),
        ("3N", 2, 5),
        ("4N", 2, 5),
        ("8N", 5),
    ]


def test_rows_of_the_batch_joined_with_others_fix_the_batch(load):
    graph = load(
        layer("s", "Reduction", "data", "s", "reduction_param { axis: 1 }"),
        layer("c", "Concat", "s by", "c", "concat_param { axis: 0 }"),
        data=(9, 2),
        by=(4,),
    )

    assert [graph.blobs[blob].shape for blob in ("data", "s", "c")] == [(9, 2), (9,), (13,)]


def test_a_vector_beside_larger_inputs_has_no_batch(load):
    graph = load(relu("a", "data", "x"), data=(9, 3, 4, 5), vector=(3,))

    assert [value.shape for value in graph.inputs] == [("N", 3, 4, 5), (3,)]


def test_among_vectors_only_the_length_is_the_batch(load):
    graph = load(relu("a", "data", "x"), data=(9,), other=(9,))

    assert [value.shape for value in graph.inputs] == [("N",), ("N",)]


MIXING = [
    layer("m", "Softmax", "x", "m", "softmax_param { axis: 0 }"),
    layer("m", "Reshape", "x", "m", "reshape_param { shape { dim: [4, 192] } }"),
    layer("m", "Reshape", "x", "m", "reshape_param { shape { dim: [2, -1] } }"),
    layer("m", "Slice", "x", "m n", "slice_param { axis: 0 }"),
    layer("m", "Reduction", "x", "m", "reduction_param { axis: 0 }"),
    layer("m", "BatchReduction", "x", "m"),
]


@pytest.mark.parametrize("mixing", MIXING)
def test_where_a_layer_mixes_rows_the_batch_is_that_of_the_prototxt(load, mixing):
    graph = load(relu("a", "data", "x"), mixing, data=(4, 3, 8, 8), by=(2, 5))

    assert [value.shape for value in graph.inputs] == [(4, 3, 8, 8), (2, 5)]
    assert graph.blobs["x"].shape == (4, 3, 8, 8)


def test_a_fixed_batch_is_that_of_the_onnx_file_too(tmp_path):
    graph = graph_of(tmp_path, net(relu("a", "data", "x"), MIXING[0], data=(4, 3, 8, 8)))

    model = export_onnx(graph)

    sizes = [
        [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert sizes == [[4, 3, 8, 8]] * 2


def test_a_setting_that_holds_for_no_batch_size_is_refused(load):
    settings = "reshape_param { shape { dim: [5, 192] } }"

    with pytest.raises(LayerError, match=r"'m' \(Reshape\): .*\[4, 3, 8, 8\] cannot be reshaped"):
        load(layer("m", "Reshape", "data", "m", settings), data=(4, 3, 8, 8))


def test_input_layers_declare_inputs_and_are_no_layers_of_the_graph(tmp_path):
    text = """layer { name: "in" type: "Input" top: "data" top: "by"
        input_param { shape { dim: [9, 3, 8, 8] } shape { dim: 3 } } }\n"""

    graph = load_graph(write_prototxt(tmp_path, text + RELU), None)

    assert [(v.name, v.shape) for v in graph.inputs] == [("data", ("N", 3, 8, 8)), ("by", (3,))]
    assert [la.name for la in graph.layers] == ["r"]


def test_an_input_layer_of_the_training_net_declares_none(tmp_path):
    head = net(RELU).replace(RELU, "")
    text = """layer { name: "in" type: "Input" top: "label" include { phase: TRAIN }
        input_param { shape { dim: 9 } } }\n"""

    graph = load_graph(write_prototxt(tmp_path, head + text + RELU), None)

    assert [value.name for value in graph.inputs] == ["data"]


def test_data_loss_and_accuracy_layers_are_left_out(load):
    graph = load(
        layer("train", "ImageData", "", "data label", "image_data_param { source: 'list' }"),
        relu("r", "data", "x"),
        layer("loss", "SoftmaxWithLoss", "x label", "loss"),
        layer("top1", "Accuracy", "x label", "top1", "accuracy_param { top_k: 1 }"),
    )

    assert [la.name for la in graph.layers] == ["r"]
    assert graph.outputs == ("x",)


def test_silenced_blobs_are_no_outputs(load):
    graph = load(
        relu("a", "data", "x"),
        relu("b", "data", "y"),
        relu("c", "data", "z"),
        layer("s", "Silence", "x z", ""),
    )

    assert graph.outputs == ("y",)


SHARING = {
    "Flatten": ("", lambda x: x.reshape(len(x), -1)),
    "Reshape": ("reshape_param { shape { dim: [0, 6, -1] } }", lambda x: x.reshape(len(x), 6, -1)),
    "Split": ("", lambda x: x),
}
EARLY = layer("early", "Power", "x", "early", "power_param { scale: 3 }")
LATE = layer("late", "Power", "x", "late", "power_param { scale: 3 }")


@pytest.fixture
def run_sharing(tmp_path):
    """Run layers behind `x` = leaky(data), and return blobs by name."""

    def run(*layers, blobs):
        graph = graph_of(tmp_path, net(relu("a", "data", "x", LEAKY), *layers))
        return run_onnx(export_onnx(graph, outputs=blobs), {"data": IMAGE})

    return run


@pytest.mark.parametrize("kind", SHARING)
def test_overwriting_shared_memory_changes_all_its_names_for_later_readers(run_sharing, kind):
    settings, shaped = SHARING[kind]
    x, overwritten = leaky(IMAGE), leaky(leaky(IMAGE))

    actual = run_sharing(
        EARLY,
        layer("share", kind, "x", "f", settings),
        relu("r", "f", "f", LEAKY),
        LATE,
        blobs=["early", "late", "x", "f"],
    )

    expected = {"early": 3 * x, "late": 3 * overwritten, "x": overwritten, "f": shaped(overwritten)}
    for blob, array in expected.items():
        assert max_relative_error(actual[blob], array) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("kind", SHARING)
def test_shared_memory_that_nobody_overwrites_holds_the_bottom(run_sharing, kind):
    settings, shaped = SHARING[kind]
    share = layer("share", kind, "x", "f", settings)

    actual = run_sharing(share, relu("r", "f", "g", LEAKY), LATE, blobs=["late", "f", "g"])

    expected = {
        "late": 3 * leaky(IMAGE),
        "f": shaped(leaky(IMAGE)),
        "g": shaped(leaky(leaky(IMAGE))),
    }
    for blob, array in expected.items():
        assert max_relative_error(actual[blob], array) < FLOAT32_TOLERANCE


def test_memory_is_shared_through_several_layers_and_overwritten_several_times(run_sharing):
    actual = run_sharing(
        layer("s", "Split", "x", "s t"),
        layer("f", "Flatten", "s", "f"),
        layer("g", "Reshape", "t", "g", "reshape_param { shape { dim: [0, 0, 64] } }"),
        relu("r1", "f", "f", LEAKY),
        relu("between", "x", "between", LEAKY),
        relu("r2", "g", "g", LEAKY),
        blobs=["x", "s", "t", "f", "g", "between"],
    )

    once, twice = leaky(leaky(IMAGE)), leaky(leaky(leaky(IMAGE)))
    assert max_relative_error(actual["between"], leaky(once)) < FLOAT32_TOLERANCE
    for blob, shape in {"x": IMAGE.shape, "s": IMAGE.shape, "f": (2, 192), "g": (2, 3, 64)}.items():
        assert max_relative_error(actual[blob], twice.reshape(shape)) < FLOAT32_TOLERANCE


def test_an_in_place_dropout_changes_nothing_of_shared_memory(run_sharing):
    actual = run_sharing(
        layer("f", "Flatten", "x", "f"), layer("d", "Dropout", "f", "f"), LATE, blobs=["late"]
    )

    assert max_relative_error(actual["late"], 3 * leaky(IMAGE)) < FLOAT32_TOLERANCE


def test_a_copy_by_dropout_ends_the_sharing(run_sharing):
    actual = run_sharing(
        layer("d", "Dropout", "x", "copy"),
        layer("f", "Flatten", "copy", "f"),
        relu("r", "f", "f", LEAKY),
        LATE,
        blobs=["late", "copy"],
    )

    assert max_relative_error(actual["late"], 3 * leaky(IMAGE)) < FLOAT32_TOLERANCE
    assert max_relative_error(actual["copy"], leaky(leaky(IMAGE))) < FLOAT32_TOLERANCE


def test_an_input_is_overwritten_through_shared_memory_too(tmp_path):
    text = net(
        layer("f", "Flatten", "data", "f"),
        relu("r", "f", "f", LEAKY),
        relu("late", "data", "late", "relu_param { negative_slope: 1 }"),
    )

    actual = run_net(tmp_path, text, {"data": IMAGE})

    assert list(actual) == ["f", "late"]
    assert max_relative_error(actual["late"], leaky(IMAGE)) < FLOAT32_TOLERANCE


def test_a_blob_whose_memory_was_shared_cannot_be_overwritten_itself(load):
    with pytest.raises(LayerError, match=r"'r' \(ReLU\): it overwrites 'x', which an earlier"):
        load(relu("a", "data", "x"), layer("f", "Flatten", "x", "f"), relu("r", "x", "x"))


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
