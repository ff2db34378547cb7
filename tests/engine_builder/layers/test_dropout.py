import numpy as np
import pytest

from tests.builders import graph_of, layer, net, random_floats
from tsnd_builder.errors import LayerError
from tsnd_builder.export import export_onnx


@pytest.mark.parametrize("settings", ["", "dropout_param { dropout_ratio: 0.8 }"])
def test_the_bottom_passes_unchanged(run_layer, settings):
    x = random_floats(1, 3, 4, 2)

    np.testing.assert_array_equal(run_layer("Dropout", settings, x), x)


def test_no_node_is_left_behind(tmp_path):
    text = net(
        layer("r", "ReLU", "data", "r"),
        layer("d", "Dropout", "r", "r"),
        layer("s", "ReLU", "r", "s"),
    )

    model = export_onnx(graph_of(tmp_path, text))

    assert [node.op_type for node in model.graph.node] == ["Relu", "Relu"]


def test_a_second_top_is_refused(tmp_path):
    with pytest.raises(LayerError, match=r"'d' \(Dropout\): it has 2 top\(s\), expected 1"):
        graph_of(tmp_path, net(layer("d", "Dropout", "data", "a b")))
