import numpy as np
import pytest

from tests.builders import graph_of, layer, net, random_floats, run_net
from tsnd_builder.errors import LayerError

SPLIT = layer("s", "Split", "data", "a b c")


def test_every_top_is_the_bottom(tmp_path):
    x = random_floats(1, 5, 3)

    actual = run_net(tmp_path, net(SPLIT, data=(1, 3)), {"data": x})

    assert list(actual) == ["a", "b", "c"]
    for top in actual.values():
        np.testing.assert_array_equal(top, x)


def test_it_leaves_no_layer_behind(tmp_path):
    graph = graph_of(tmp_path, net(SPLIT, layer("r", "ReLU", "b", "r")))

    assert [(entry.type, entry.bottoms[0].name) for entry in graph.layers] == [("ReLU", "data")]


@pytest.mark.parametrize(
    ("bottoms", "tops", "reason"),
    [("data", "", r"0 top\(s\), expected at least 1"), ("data data", "a", r"2 bottom\(s\)")],
)
def test_other_numbers_of_bottoms_or_tops_are_refused(tmp_path, bottoms, tops, reason):
    with pytest.raises(LayerError, match=rf"layer 's' \(Split\): it has {reason}"):
        graph_of(tmp_path, net(layer("s", "Split", bottoms, tops)))
