from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tsnd_builder.assemble import assemble
from tsnd_builder.caffe.prototxt import read_prototxt
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.networks.bn_inception import bn_inception
from tsnd_builder.networks.inception_v3 import inception_v3
from tsnd_builder.networks.registry import NETWORKS

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "caffe" / "nets"


def no_memory(spec, parameters, bottoms):
    """Give each layer blobs of the right shapes, all zeros."""
    zero = np.zeros((), np.float32)
    return tuple(np.broadcast_to(zero, shape) for shape in spec.blob_shapes(parameters, bottoms))


def graph_of(net):
    return assemble(net, no_memory, source=Path("net.prototxt"))


@pytest.fixture(scope="module")
def rgb():
    return graph_of(bn_inception(channels=3, classes=400))


def test_bn_inception_has_the_published_number_of_layers(rgb):
    types = Counter(layer.type for layer in rgb.layers)

    assert types == {
        "Convolution": 69,
        "BN": 69,
        "ReLU": 69,
        "Pooling": 13,
        "Concat": 10,
        "InnerProduct": 1,
    }


def test_bn_inception_has_the_published_number_of_weights(rgb):
    assert sum(blob.size for layer in rgb.layers for blob in layer.blobs) == 10_700_272


@pytest.mark.parametrize(
    ("blob", "shape"),
    [
        ("conv1/7x7_s2", (64, 112, 112)),
        ("pool1/3x3_s2", (64, 56, 56)),
        ("pool2/3x3_s2", (192, 28, 28)),
        ("inception_3a/output", (256, 28, 28)),
        ("inception_3b/output", (320, 28, 28)),
        ("inception_3c/output", (576, 14, 14)),
        ("inception_4a/output", (576, 14, 14)),
        ("inception_4b/output", (576, 14, 14)),
        ("inception_4c/output", (608, 14, 14)),
        ("inception_4d/output", (608, 14, 14)),
        ("inception_4e/output", (1056, 7, 7)),
        ("inception_5a/output", (1024, 7, 7)),
        ("inception_5b/output", (1024, 7, 7)),
        ("global_pool", (1024, 1, 1)),
        ("fc-action", (400,)),
    ],
)
def test_blobs_of_bn_inception_have_the_published_shapes(rgb, blob, shape):
    assert rgb.blobs[blob].shape == ("N", *shape)


def test_every_convolution_has_a_bn_and_a_relu_in_place_behind_it(rgb):
    for layer in rgb.layers:
        if layer.type == "Convolution":
            (bn,) = rgb.consumers()[layer.tops[0].name]
            (relu,) = rgb.consumers()[bn.tops[0].name]
            assert (bn.type, bn.name, relu.type) == ("BN", f"{layer.name}_bn", "ReLU")
            assert relu.tops[0].name == f"{layer.name}_bn"


def test_the_last_block_pools_by_maximum_and_the_others_with_padding_by_average(rgb):
    padded = [la for la in rgb.layers if la.type == "Pooling" and la.parameters.pooling_param.pad]
    methods = {la.name: la.parameters.pooling_param.pool for la in padded}

    assert methods.pop("inception_5b/pool") == 0
    assert methods == {
        f"inception_{block}/pool": 1 for block in ("3a", "3b", "4a", "4b", "4c", "4d", "5a")
    }


@pytest.mark.parametrize(("channels", "classes"), [(3, 101), (10, 51)])
def test_channels_and_classes_are_as_asked_for(channels, classes):
    graph = graph_of(bn_inception(channels=channels, classes=classes))

    assert graph.inputs[0].shape == ("N", channels, 224, 224)
    assert graph.layers[0].blobs[0].shape == (64, channels, 7, 7)
    assert graph.blobs["fc-action"].shape == ("N", classes)


def signature(graph):
    """Describe each layer by all that decides what it computes, in order."""
    return [
        (
            layer.name,
            layer.type,
            [value.name for value in layer.bottoms],
            [(value.name, value.shape) for value in layer.tops],
            [blob.shape for blob in layer.blobs],
        )
        for layer in graph.layers
    ]


@pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the published prototxt does not lie beside this repository"
)
@pytest.mark.parametrize(("modality", "channels"), [("rgb", 3), ("flow", 10)])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_is_layer_by_layer_the_published_one(name, modality, channels):
    prototxt = GOLDEN / f"{name}_{modality}" / "deploy.prototxt"
    published = graph_of(read_prototxt(prototxt, convertible=frozenset(LAYER_SPECS)))

    ours = graph_of(NETWORKS[name](channels=channels, classes=400))

    assert sorted(signature(ours)) == sorted(signature(published))
    assert ours.name == published.name


def test_inception_v3_has_its_size_and_blobs():
    graph = graph_of(inception_v3(channels=3, classes=400))
    kinds = Counter(layer.type for layer in graph.layers)

    assert (kinds["Convolution"], kinds["BN"], kinds["Concat"]) == (94, 94, 11)
    assert graph.blobs["top_cls_global_pool"].shape == ("N", 2048, 1, 1)
    assert graph.blobs["fc_action"].shape == ("N", 400)


def test_the_kernels_of_inception_v3_are_the_transpose_of_the_usual_ones():
    net = inception_v3(channels=3, classes=5)
    kernels = {
        layer.name: (layer.convolution_param.kernel_h, layer.convolution_param.kernel_w)
        for layer in net.layer
        if layer.type == "Convolution"
    }

    assert kernels["mixed_4_tower_conv_1_Conv2D"] == (7, 1)
    assert kernels["mixed_4_tower_1_conv_1_Conv2D"] == (1, 7)
    assert kernels["mixed_9_tower_mixed_conv_Conv2D"] == (3, 1)


@pytest.mark.parametrize("classes", [51, 101, 200])
def test_class_counts_of_other_data_sets_fit(classes):
    for network in NETWORKS.values():
        net = network(channels=3, classes=classes)
        assert net.layer[-1].inner_product_param.num_output == classes
