import pytest

from tests.builders import graph_of, layer, net
from tsnd_builder.errors import LayerError


def relus(*tops):
    return [layer(top, "ReLU", "data", top) for top in tops]


def test_the_blobs_that_it_reads_are_no_outputs_but_still_there(tmp_path):
    graph = graph_of(tmp_path, net(*relus("a", "b", "c"), layer("s", "Silence", "a c", "")))

    assert graph.outputs == ("b",)
    assert {"a", "c"} <= set(graph.blobs)
    assert [entry.type for entry in graph.layers] == ["ReLU"] * 3


@pytest.mark.parametrize(
    ("bottoms", "tops", "reason"),
    [("", "", r"0 bottom\(s\); a Silence takes at least 1"), ("a", "t", r"1 top\(s\), expected 0")],
)
def test_no_bottom_or_a_top_is_refused(tmp_path, bottoms, tops, reason):
    with pytest.raises(LayerError, match=rf"layer 's' \(Silence\): it has {reason}"):
        graph_of(tmp_path, net(*relus("a"), layer("s", "Silence", bottoms, tops)))
