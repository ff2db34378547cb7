import pytest

from tests.builders import graph_of, layer, net, run_net


def one_layer_net(kind, settings, shapes):
    """Write a net of one layer `it`, from `in0`, `in1` ... to `out`, for a batch of 1."""
    inputs = {f"in{index}": (1, *shape[1:]) for index, shape in enumerate(shapes)}
    return net(layer("it", kind, " ".join(inputs), "out", settings), **inputs)


@pytest.fixture
def run_layer(tmp_path):
    """Run one layer on arrays, whatever the batch that its prototxt declares."""

    def run(kind, settings, *bottoms, blobs=()):
        text = one_layer_net(kind, settings, [bottom.shape for bottom in bottoms])
        inputs = {f"in{index}": bottom for index, bottom in enumerate(bottoms)}
        return run_net(tmp_path, text, inputs, {"it": blobs} if blobs else None)["out"]

    return run


@pytest.fixture
def load_layer(tmp_path):
    """Load one layer on inputs of these shapes, and return it as it is in the graph."""

    def load(kind, settings, *shapes, blobs=()):
        text = one_layer_net(kind, settings, shapes)
        return graph_of(tmp_path, text, {"it": blobs} if blobs else None).layers[0]

    return load
