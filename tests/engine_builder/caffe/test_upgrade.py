from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from tests.builders import blob_proto, random_floats, run_onnx, write_prototxt
from tsnd.caffe.net_pb2 import LayerParameter, NetParameter, V1LayerParameter, WeightFile
from tsnd.caffe.net_pb2 import V0LayerWeights as V0
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.upgrade import V0_TYPES, V1_TYPES, upgraded
from tsnd_builder.errors import PrototxtError
from tsnd_builder.export import export_onnx

SOURCE = Path("old.prototxt")
ODD_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "NONE": "",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""The types whose present name is not the old one in camel case."""


def upgrade(text):
    """Upgrade a net, and return its layers."""
    return list(upgraded(text_format.Parse(text, NetParameter()), SOURCE).layer)


def present(text):
    """Parse one layer in the present format."""
    return text_format.Parse(text, LayerParameter())


def v0(kind, settings="", *, bottom="data", top="out", name="it"):
    """Write a V0 layer."""
    return f"""layers {{ bottom: '{bottom}' top: '{top}'
        layer {{ name: '{name}' type: '{kind}' {settings} }} }}"""


@pytest.mark.parametrize("old", V1LayerParameter.LayerType.keys())
def test_every_v1_type_has_its_present_name(old):
    name = ODD_TYPES.get(old, "".join(word.capitalize() for word in old.split("_")))

    (layer,) = upgrade(f"layers {{ name: 'it' type: {old} }}")

    assert (layer.name, layer.type) == ("it", name)


@pytest.mark.parametrize("old", sorted(V0_TYPES))
def test_every_v0_type_has_the_name_of_a_v1_type(old):
    (layer,) = upgrade(v0(old))

    assert layer.type in V1_TYPES.values()
    assert layer == LayerParameter(name="it", type=V0_TYPES[old], bottom=["data"], top=["out"])


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        ("ARGMAX", "argmax_param { out_max_val: true top_k: 3 }"),
        ("CONCAT", "concat_param { concat_dim: 2 }"),
        ("CONVOLUTION", "convolution_param { num_output: 3 kernel_size: 5 pad: 0 group: 2 }"),
        ("DECONVOLUTION", "convolution_param { num_output: 3 kernel_h: 1 kernel_w: 2 }"),
        ("DROPOUT", "dropout_param { dropout_ratio: 0.25 }"),
        ("ELTWISE", "eltwise_param { operation: PROD coeff: 1 coeff: 2 }"),
        ("EXP", "exp_param { base: 2 }"),
        ("INNER_PRODUCT", "inner_product_param { num_output: 3 bias_term: false }"),
        ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 norm_region: WITHIN_CHANNEL }"),
        ("MVN", "mvn_param { normalize_variance: false }"),
        ("POOLING", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
        ("POWER", "power_param { power: 2 scale: 3 shift: 4 }"),
        ("RELU", "relu_param { negative_slope: 0.5 engine: CAFFE }"),
        ("SIGMOID", "sigmoid_param { engine: CUDNN }"),
        ("SLICE", "slice_param { slice_dim: 1 slice_point: 2 slice_point: 4 }"),
        ("SOFTMAX", "softmax_param { engine: CAFFE axis: 2 }"),
        ("TANH", "tanh_param { }"),
        ("THRESHOLD", "threshold_param { threshold: 0.5 }"),
    ],
)
def test_parameters_of_a_v1_layer_survive(kind, block):
    (layer,) = upgrade(f"layers {{ type: {kind} {block} }}")

    assert layer == present(f"name: '' type: '{layer.type}' {block}")


@pytest.mark.parametrize(
    "rules",
    [
        "include { phase: TRAIN } include { min_level: 2 stage: 'a' }",
        "exclude { phase: TEST not_stage: 'b' }",
    ],
)
def test_blobs_and_phase_rules_of_a_v1_layer_survive(rules):
    blobs = "bottom: 'a' bottom: 'b' top: 'x' top: 'y'"

    (layer,) = upgrade(f"layers {{ name: 'it' type: RELU {blobs} {rules} }}")

    assert layer == present(f"name: 'it' type: 'ReLU' {blobs} {rules}")


def test_settings_of_the_training_are_dropped_and_the_head_is_kept():
    head = "name: 'old' input: 'data' input_dim: [1, 3, 8, 8] state { level: 2 }"
    settings = "blobs_lr: 1 weight_decay: 1 loss_weight: 1 param: 'w' blobs { data: 1 }"
    net = text_format.Parse(f"{head} layers {{ name: 'it' type: RELU {settings} }}", NetParameter())

    expected = text_format.Parse(f"{head} layer {{ name: 'it' type: 'ReLU' }}", NetParameter())
    assert upgraded(net, SOURCE) == expected


def test_a_net_in_the_present_format_stays_as_it_is():
    net = text_format.Parse("name: 'new' layer { name: 'it' type: 'ReLU' }", NetParameter())

    assert upgraded(net, SOURCE) == net


def test_beside_layers_of_an_older_format_those_of_the_present_are_dropped():
    layers = upgrade("layer { name: 'new' type: 'ReLU' } layers { name: 'old' type: RELU }")

    assert [layer.name for layer in layers] == ["old"]


@pytest.mark.parametrize(
    ("kind", "settings", "upgraded_settings"),
    [
        (
            "conv",
            "num_output: 4 kernelsize: 3 pad: 1 stride: 2 group: 2 biasterm: false",
            """convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 2
               bias_term: false }""",
        ),
        (
            "conv",
            "num_output: 4 weight_filler { type: 'gaussian' } blobs_lr: 1 weight_decay: 0",
            "convolution_param { num_output: 4 }",
        ),
        (
            "pool",
            "pool: AVE kernelsize: 3 stride: 2 pad: 1",
            "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
        ),
        ("pool", "pool: STOCHASTIC", "pooling_param { pool: STOCHASTIC }"),
        (
            "innerproduct",
            "num_output: 4 biasterm: true",
            "inner_product_param { num_output: 4 bias_term: true }",
        ),
        (
            "lrn",
            "local_size: 3 alpha: 0.5 beta: 0.25 k: 2",
            "lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 k: 2 }",
        ),
        ("dropout", "dropout_ratio: 0.25", "dropout_param { dropout_ratio: 0.25 }"),
        ("concat", "concat_dim: 2", "concat_param { concat_dim: 2 }"),
        ("relu", "", ""),
    ],
)
def test_settings_of_a_v0_layer_go_where_they_belong(kind, settings, upgraded_settings):
    (layer,) = upgrade(v0(kind, settings))

    head = f"name: 'it' type: '{V0_TYPES[kind]}' bottom: 'data' top: 'out'"
    assert layer == present(f"{head} {upgraded_settings}")


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("relu", "num_output: 1"),
        ("conv", "dropout_ratio: 0.5"),
        ("conv", "pool: MAX"),
        ("pool", "biasterm: true"),
        ("innerproduct", "kernelsize: 3"),
        ("lrn", "concat_dim: 1"),
        ("softmax", "k: 1"),
    ],
)
def test_a_v0_setting_of_another_type_is_refused(kind, setting):
    name = setting.partition(":")[0]

    with pytest.raises(
        PrototxtError, match=rf"layer 'it': a V0 layer of type '{kind}' has no setting '{name}'"
    ):
        upgrade(v0(kind, setting))


@pytest.mark.parametrize("kind", ["Convolution", "eltwise", ""])
def test_a_type_that_v0_does_not_have_is_refused(kind):
    with pytest.raises(
        PrototxtError, match=rf"old\.prototxt, layer 'it': .* no layer type '{kind}'"
    ):
        upgrade(v0(kind))


PADDING = v0("padding", "pad: 2", top="padded", name="pad")


@pytest.mark.parametrize(
    ("kind", "block"), [("conv", "convolution_param"), ("pool", "pooling_param")]
)
@pytest.mark.parametrize("own", ["", "pad: 1"])
def test_a_padding_layer_becomes_the_pad_of_the_layers_that_read_it(kind, block, own):
    readers = [v0(kind, f"kernelsize: 5 {own}", bottom="padded", top=f"out{i}") for i in (0, 1)]

    layers = upgrade(PADDING + readers[0] + v0("relu", bottom="data", top="r") + readers[1])

    assert [layer.type for layer in layers] == [V0_TYPES[kind], "ReLU", V0_TYPES[kind]]
    for layer in (layers[0], layers[2]):
        assert list(layer.bottom) == ["data"]
        assert getattr(layer, block).pad == 2


def test_a_blob_that_was_written_again_behind_its_padding_is_no_padding():
    relu = v0("relu", bottom="data", top="padded")

    layers = upgrade(PADDING + relu + v0("innerproduct", bottom="padded"))

    assert [list(layer.bottom) for layer in layers] == [["data"], ["padded"]]


@pytest.mark.parametrize("kind", ["relu", "innerproduct", "padding"])
def test_a_padding_layer_in_front_of_another_type_is_refused(kind):
    with pytest.raises(PrototxtError, match="layer 'it': a padding layer can only be read by a"):
        upgrade(PADDING + v0(kind, bottom="padded"))


@pytest.mark.parametrize("blobs", ["", "bottom: 'a' bottom: 'b' top: 'x'", "bottom: 'a'"])
def test_a_padding_layer_has_one_bottom_and_one_top(blobs):
    with pytest.raises(PrototxtError, match="layer 'p': a padding layer has one bottom and one"):
        upgrade(f"layers {{ {blobs} layer {{ name: 'p' type: 'padding' pad: 1 }} }}")


@pytest.mark.parametrize("v1", ["layers { name: 'v1' type: RELU }", "layers { }"])
@pytest.mark.parametrize("v1_is_first", [True, False])
def test_a_mixture_of_v0_and_v1_is_refused(v1, v1_is_first):
    text = v1 + v0("relu") if v1_is_first else v0("relu") + v1

    with pytest.raises(PrototxtError, match=r"old\.prototxt mixes layers of the V0 and V1 formats"):
        upgrade(text)


HEAD = 'input: "data" input_dim: [1, 3, 8, 8]\n'
NETS = {
    "v0": HEAD
    + v0("padding", "pad: 1", top="padded", name="pad")
    + v0("conv", "num_output: 4 kernelsize: 3", bottom="padded", top="c", name="conv")
    + v0("relu", bottom="c", top="c", name="relu")
    + v0("pool", "pool: MAX kernelsize: 2 stride: 2", bottom="c", top="p", name="pool")
    + v0("innerproduct", "num_output: 5", bottom="p", top="fc", name="fc"),
    "v1": HEAD
    + """
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "c"
         convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layers { name: "relu" type: RELU bottom: "c" top: "c" }
layers { name: "pool" type: POOLING bottom: "c" top: "p"
         pooling_param { kernel_size: 2 stride: 2 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "p" top: "fc"
         inner_product_param { num_output: 5 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" }
""",
    "present": HEAD
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "pool" type: "Pooling" bottom: "c" top: "p"
        pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "p" top: "fc"
        inner_product_param { num_output: 5 } }
""",
}


def write_old_weights(folder, version):
    """Write the weights of these nets in one of the three formats."""
    file = WeightFile(name="old")
    blobs = {
        "conv": [random_floats(1, 4, 3, 3, 3), random_floats(2, 4)],
        "fc": [random_floats(3, 5, 64), random_floats(4, 5)],
    }
    for name, arrays in blobs.items():
        protos = [blob_proto(array) for array in arrays]
        if version == "v0":
            file.layers.add().layer.MergeFrom(V0(name=name, blobs=protos))
        elif version == "v1":
            file.layers.add(name=name, blobs=protos)
        else:
            file.layer.add(name=name, blobs=protos)
    path = folder / "old.caffemodel"
    path.write_bytes(file.SerializeToString())
    return path


@pytest.mark.parametrize("weights", NETS)
@pytest.mark.parametrize("version", NETS)
def test_a_net_and_its_weights_in_any_format_are_the_same(tmp_path, version, weights):
    image = {"data": random_floats(5, 2, 3, 8, 8)}
    path = write_old_weights(tmp_path, weights)
    usual = load_graph(write_prototxt(tmp_path, NETS["present"], "new.prototxt"), path)

    graph = load_graph(write_prototxt(tmp_path, NETS[version]), path)

    expected = run_onnx(export_onnx(usual), image)["fc"]
    np.testing.assert_array_equal(run_onnx(export_onnx(graph), image)["fc"], expected)
    assert np.abs(expected).max() > 0
