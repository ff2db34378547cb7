"""Which of its two meanings the fourth blob of a BN layer has."""

import numpy as np
import pytest

from tests.builders import write_tiny_caffe_model
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.graph import Graph
from tsnd_builder.errors import WeightsError
from tsnd_builder.layers.batch_norm import BNStorage, certain_storage


@pytest.fixture
def graph(tmp_path) -> Graph:
    prototxt, weights, _ = write_tiny_caffe_model(tmp_path)
    return load_graph(prototxt, weights)


def set_stored(graph: Graph, values: list[float]) -> None:
    """Put values into the fourth blob of the graph's first BN layer, the rest being 1."""
    layers = [layer for layer in graph.layers if layer.type == "BN"]
    for layer in layers:
        layer.blobs[3][...] = 1.0
    layers[0].blobs[3].flat[: len(values)] = values


@pytest.mark.parametrize("value", [0.0, -1e-7, 316.3, 5000.0])
def test_a_value_no_inverse_deviation_can_have_proves_variances(graph, value):
    set_stored(graph, [0.5, value])

    assert certain_storage(graph) is BNStorage.VARIANCE


@pytest.mark.parametrize("value", [1e-6, 1.0, 316.0, float(np.float32(1e-5) ** -0.5)])
def test_values_that_could_be_either_are_not_decided(graph, value):
    set_stored(graph, [value])

    with pytest.raises(WeightsError, match=r"cannot decide.*variance for.*inverse-std for"):
        certain_storage(graph)


def test_auto_stops_at_a_file_that_could_be_either(tmp_path):
    prototxt, weights, _ = write_tiny_caffe_model(tmp_path)

    with pytest.raises(WeightsError, match="--bn-storage auto cannot decide"):
        load_graph(prototxt, weights, bn_storage=BNStorage.AUTO)
