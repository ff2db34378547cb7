"""Serving graphs of tiny nets, which take frames of 16 x 21, and such frames."""

import pytest

from tests.builders import graph_of, tiny_blobs, tiny_net
from tsnd_builder.probes import natural_frames
from tsnd_builder.serving_graph import Modality, build_serving_model, find_heads, serving_spec


def serving_model(folder, text, blobs, *, crops=1):
    graph = graph_of(folder, text, blobs)
    spec = serving_spec(graph, Modality.RGB, crops_per_snippet=crops)
    return build_serving_model(graph, spec, find_heads(graph))


@pytest.fixture
def serve(tmp_path):
    """Make the serving graph of a net of 3 x 14 x 14: serve(text, blobs, crops=1)."""

    def make(text, blobs, **options):
        return serving_model(tmp_path, text, blobs, **options)

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The serving graph of the tiny net, with ten crops."""
    return serving_model(tmp_path_factory.mktemp("tiny"), tiny_net(), tiny_blobs(), crops=10)


@pytest.fixture(scope="session")
def frames():
    """Ten frames like photos, uint8 [10, 16, 21, 3]."""
    return natural_frames((16, 21, 3), Modality.RGB, 10, 5)
