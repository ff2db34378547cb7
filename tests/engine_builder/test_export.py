import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.builders import (
    FLOAT32_TOLERANCE,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_onnx,
    tiny_blobs,
    tiny_net,
)
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import ExportError, SelectionError
from tsnd_builder.export import IR_VERSION, OPSET, check_model, export_onnx, make_model
from tsnd_builder.onnx_writer import NodeWriter

IMAGE = 60 * random_floats(1, 4, 3, 14, 14)


@pytest.fixture
def graph(tmp_path):
    return graph_of(tmp_path, tiny_net(), tiny_blobs())


def shape_of(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_inputs_and_outputs_have_caffes_names_and_an_open_batch(graph):
    model = export_onnx(graph, outputs=["fc-action", "global_pool"])

    assert [(v.name, shape_of(v)) for v in model.graph.input] == [("data", ["N", 3, 14, 14])]
    assert [(v.name, shape_of(v)) for v in model.graph.output] == [
        ("fc-action", ["N", 5]),
        ("global_pool", ["N", 10, 1, 1]),
    ]


def test_opset_and_ir_version_are_those_of_old_runtimes(graph):
    model = export_onnx(graph)

    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert (OPSET, IR_VERSION, model.ir_version) == (17, 8, 8)


def test_the_model_names_its_producer_and_its_net(graph):
    model = export_onnx(graph)

    assert (model.producer_name, model.graph.name) == ("tsnd", "small")
    assert model.producer_version


def test_a_net_without_a_name_is_called_like_its_file(tmp_path):
    text = net(layer("r", "ReLU", "data", "x")).replace('name: "small"\n', "")

    assert export_onnx(graph_of(tmp_path, text)).graph.name == "net"


def test_nodes_and_constants_are_named_after_layers(graph):
    model = export_onnx(graph)

    names = {node.op_type: node.name for node in model.graph.node}
    constants = {tensor.name for tensor in model.graph.initializer}
    assert names["Gemm"] == "fc-action"
    assert names["Concat"] == "inception/output"
    assert {"fc-action.weight", "fc-action.bias", "conv1/3x3_s2.weight"} <= constants


def test_every_inner_value_has_a_shape(graph):
    model = export_onnx(graph)

    known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    assert {name for node in model.graph.node for name in node.output} <= known


def test_the_nets_own_outputs_are_the_default(graph):
    assert [value.name for value in export_onnx(graph).graph.output] == ["fc-action"]


def test_outputs_come_in_the_order_asked_for_and_once(graph):
    model = export_onnx(graph, outputs=["global_pool", "fc-action", "global_pool"])

    assert [value.name for value in model.graph.output] == ["global_pool", "fc-action"]


def test_layers_that_no_output_depends_on_are_left_out(graph):
    model = export_onnx(graph, outputs=["pool1/3x3_s2"])

    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "MaxPool"]
    assert {t.name for t in model.graph.initializer} == {"conv1/3x3_s2.weight", "conv1/3x3_s2.bias"}


def test_every_blob_can_be_an_output(graph):
    blobs = [blob for blob in graph.blobs if blob != "data"]
    all_at_once = run_onnx(export_onnx(graph, outputs=blobs), {"data": IMAGE})

    for blob in blobs:
        alone = run_onnx(export_onnx(graph, outputs=[blob]), {"data": IMAGE})[blob]
        assert max_relative_error(alone, all_at_once[blob]) < FLOAT32_TOLERANCE


def test_a_blob_that_only_passes_on_another_can_be_an_output_beside_it(tmp_path):
    text = net(layer("r", "ReLU", "data", "x"), layer("d", "Dropout", "x", "y"))
    image = random_floats(1, 2, 3, 8, 8)

    actual = run_onnx(export_onnx(graph_of(tmp_path, text), outputs=["y", "x"]), {"data": image})

    np.testing.assert_array_equal(actual["x"], np.maximum(image, 0))
    np.testing.assert_array_equal(actual["y"], actual["x"])


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_each_row_of_a_batch_is_scored_as_if_alone(graph, batch):
    model = export_onnx(graph)
    image = 60 * random_floats(batch, batch, 3, 14, 14)

    together = run_onnx(model, {"data": image})["fc-action"]

    alone = [run_onnx(model, {"data": row[np.newaxis]})["fc-action"][0] for row in image]
    assert max_relative_error(together, alone) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("fc_action", "fc-action"),
        ("globalpool", "global_pool"),
        ("inception/outptu", "inception/output"),
        ("zzz", "fc-action"),
    ],
)
def test_an_unknown_output_is_refused_with_a_near_one(graph, asked, near):
    with pytest.raises(
        SelectionError, match=rf"net\.prototxt has no blob '{asked}'.*mean .*{near}"
    ):
        export_onnx(graph, outputs=[asked])


def test_an_input_cannot_be_an_output(graph):
    with pytest.raises(SelectionError, match=r"'data' is an input of .* cannot also be an output"):
        export_onnx(graph, outputs=["data"])


def test_an_input_that_is_overwritten_and_never_read_cannot_be_the_default_output(tmp_path):
    graph = graph_of(tmp_path, net(layer("r", "ReLU", "data", "data")))

    with pytest.raises(SelectionError, match="'data' is an input"):
        export_onnx(graph)


def test_blobs_called_like_inner_values_do_not_collide_with_them(tmp_path):
    fc = "inner_product_param { num_output: 2 bias_term: false }"
    text = net(
        layer("fc", "InnerProduct", "data", "fc/flat", fc),
        layer("r", "ReLU", "fc/flat", "fc.weight"),
        data=(1, 3, 2, 2),
    )
    image, weight = random_floats(1, 2, 3, 2, 2), random_floats(2, 2, 12)
    model = export_onnx(graph_of(tmp_path, text, {"fc": [weight]}))

    actual = run_onnx(model, {"data": image})["fc.weight"]

    expected = np.maximum(image.reshape(2, 12) @ weight.T, 0)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_an_unused_input_stays_an_input(tmp_path):
    text = net(layer("r", "ReLU", "data", "x"), data=(1, 3), spare=(1, 2))

    model = export_onnx(graph_of(tmp_path, text))

    assert [value.name for value in model.graph.input] == ["data", "spare"]


def tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(op_type, inputs, *, out_shape):
    writer = NodeWriter()
    writer.node(op_type, inputs, "out", name="node")
    shapes = [tensor("a", ["N", 3]), tensor("b", ["N", 4])]
    return make_model(writer, name="broken", inputs=shapes, outputs=[tensor("out", out_shape)])


@pytest.mark.parametrize(
    "model",
    [
        model_of("NoSuchOperator", ["a"], out_shape=["N", 3]),
        model_of("Relu", ["nobody"], out_shape=["N", 3]),
        model_of("Add", ["a", "b"], out_shape=["N", 3]),
        model_of("Relu", ["a"], out_shape=["N", 5]),
        model_of("Relu", ["a", "b"], out_shape=["N", 3]),
    ],
    ids=["operator", "input", "shapes", "output_shape", "arity"],
)
def test_a_broken_model_is_reported_as_a_bug_of_the_builder(model):
    with pytest.raises(ExportError, match=r"(?s)'broken' failed its check.*bug of tsn-build"):
        check_model(model)


def test_the_model_survives_serialization(graph):
    model = export_onnx(graph)

    onnx.checker.check_model(onnx.load_from_string(model.SerializeToString()), full_check=True)


def test_a_net_whose_outputs_are_all_silenced_is_refused(tmp_path):
    text = """input: "data" input_shape { dim: 1 dim: 3 }
    layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
    layer { name: "s" type: "Silence" bottom: "r" }"""
    (tmp_path / "net.prototxt").write_text(text)

    with pytest.raises(SelectionError, match=r"has no outputs.*--outputs"):
        export_onnx(load_graph(tmp_path / "net.prototxt", None))
