import tempfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.builders import layer, net, random_floats, tiny_blobs, tiny_net
from tsnd_builder.errors import PackageError, SelectionError
from tsnd_builder.inference import open_session, run_batches
from tsnd_builder.precision.accuracy import compare_scores
from tsnd_builder.precision.int8 import Calibrator, Int8Options, Recipe, quantize

MIN_SNR_DB = 30
"""Of the scores of a small net in INT8: 8 bits leave about 6 dB each at the weakest layer."""

CONVOLUTIONS = [f"network/{name}" for name in ("conv1/3x3_s2", "inception/1x1")]
LAST = "network/inception/pool_proj"


@pytest.fixture(scope="module")
def quantized(tiny, frames):
    """The tiny net by both recipes; 5 frames, so the last batch is not full."""
    return quantize(tiny, frames[0::2], Int8Options())


def constants_of(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def nodes_of(model, *op_types):
    return [node for node in model.graph.node if node.op_type in op_types]


def readers_of(model, value):
    return [node for node in model.graph.node if value in node.input]


def weights_of(model, name):
    return constants_of(model)[f"{name}.weight_quantized"]


def snr_db(model, quantized, frames):
    """Return the signal to noise of the scores, computed as the graph says."""
    (expected,) = run_batches(open_session(model), ["scores"], frames)
    (found,) = run_batches(open_session(quantized, exact_int8=True), ["scores"], frames)
    return compare_scores(found, expected).snr_db


@pytest.mark.parametrize("recipe", list(Recipe))
@pytest.mark.parametrize("calibrator", list(Calibrator))
@pytest.mark.parametrize("count", [1, 4, 6])
def test_scores_stay_close_whatever_calibrates(tiny, frames, recipe, calibrator, count):
    model = quantize(tiny, frames[:count], Int8Options(calibrator=calibrator))[recipe]

    onnx.checker.check_model(model, full_check=True)
    assert snr_db(tiny, model, frames[:count]) > MIN_SNR_DB


@pytest.mark.parametrize("recipe", list(Recipe))
def test_inputs_and_outputs_stay_as_they_are(tiny, quantized, recipe):
    model = quantized[recipe]

    assert list(model.graph.input) == list(tiny.graph.input)
    assert list(model.graph.output) == list(tiny.graph.output)
    assert list(model.opset_import) == list(tiny.opset_import)
    assert not model.metadata_props


def test_for_tensorrt_all_is_signed_and_symmetric(quantized):
    model = quantized[Recipe.TENSORRT]

    zeros = {n.input[2] for n in nodes_of(model, "QuantizeLinear", "DequantizeLinear")}
    for name in zeros:
        zero = constants_of(model)[name]
        assert zero.dtype == np.int8
        assert not zero.any()


def test_for_tensorrt_biases_stay_float(quantized):
    model = quantized[Recipe.TENSORRT]

    biases = [constants_of(model)[node.input[2]] for node in nodes_of(model, "Conv")]
    assert [bias.dtype for bias in biases] == [np.float32] * 3
    assert TensorProto.INT32 not in {t.data_type for t in model.graph.initializer}


def test_for_tensorrt_every_convolution_reads_quantized_values(quantized):
    model = quantized[Recipe.TENSORRT]

    values = {node.output[0] for node in nodes_of(model, "DequantizeLinear")}
    assert len(values) == 6
    assert {v for node in nodes_of(model, "Conv") for v in node.input[:2]} == values


def test_for_tensorrt_nothing_stands_between_a_convolution_and_its_relu(quantized):
    model = quantized[Recipe.TENSORRT]

    for convolution in nodes_of(model, "Conv"):
        (reader,) = readers_of(model, convolution.output[0])
        assert reader.op_type == "Relu"


def test_for_cpus_values_are_unsigned_and_weights_signed(quantized):
    model = quantized[Recipe.CPU]

    constants = constants_of(model)
    zeros = {n.input[2]: constants[n.input[2]] for n in nodes_of(model, "QuantizeLinear")}
    assert {zero.dtype for zero in zeros.values()} == {np.dtype(np.uint8)}
    assert zeros["crops_zero_point"] > 0
    assert {weights_of(model, name).dtype for name in CONVOLUTIONS} == {np.dtype(np.int8)}


@pytest.mark.parametrize("recipe", list(Recipe))
def test_weights_have_a_scale_for_each_output_channel(quantized, recipe):
    constants = constants_of(quantized[recipe])

    for name, channels in zip([*CONVOLUTIONS, LAST], (8, 6, 4), strict=True):
        assert constants[f"{name}.weight_scale"].shape == (channels,)
        largest = np.abs(weights_of(quantized[recipe], name)).reshape(channels, -1).max(axis=1)
        assert (largest == 127).all()


@pytest.mark.parametrize("recipe", list(Recipe))
def test_preprocessing_and_what_is_behind_the_last_convolution_stay_float(tiny, quantized, recipe):
    names = [node.name for node in tiny.graph.node]
    first, last = names.index("network/conv1/3x3_s2"), names.index(LAST)
    last += tiny.graph.node[last + 1].op_type == "Relu"  # which is one with it

    rounded = {node.input[0] for node in nodes_of(quantized[recipe], "QuantizeLinear")}
    nodes = [*tiny.graph.node[:first], *tiny.graph.node[last + 1 :]]
    made = {value for node in nodes for value in node.output}
    assert rounded & made == {"crops"}  # what the first convolution reads
    assert weights_are_float(quantized[recipe], "network/fc-action")


def weights_are_float(model, name):
    (node,) = [node for node in model.graph.node if node.name == name]
    return node.input[1] in constants_of(model)


@pytest.mark.parametrize("recipe", list(Recipe))
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_first_convolutions_stay_float_on_request(tiny, frames, recipe, count):
    model = quantize(tiny, frames[:2], Int8Options(float_layers=count))[recipe]

    convolutions = [node.name for node in nodes_of(model, "Conv")]
    are_float = [weights_are_float(model, name) for name in convolutions]
    assert are_float == [True] * count + [False] * (3 - count)


@pytest.mark.parametrize("count", [3, 100])
def test_keeping_all_convolutions_in_float_is_refused(tiny, frames, count):
    with pytest.raises(SelectionError, match=rf"has 3 convolutions.*first {count} in float"):
        quantize(tiny, frames[:2], Int8Options(float_layers=count))


def test_a_network_without_convolutions_is_refused(serve, frames):
    relu = layer("r", "ReLU", "data", "r")
    fc = layer("fc", "InnerProduct", "r", "fc", "inner_product_param { num_output: 2 }")
    blobs = {"fc": [random_floats(1, 2, 588), np.zeros(2)]}
    model = serve(net(relu, fc, data=(1, 3, 14, 14)), blobs)

    with pytest.raises(SelectionError, match="has no convolutions"):
        quantize(model, frames[:2], Int8Options())


@pytest.mark.parametrize(
    ("recipe", "reduce_range", "largest"),
    [
        (Recipe.CPU, False, 127),
        (Recipe.CPU, True, 64),
        (Recipe.TENSORRT, False, 127),
        (Recipe.TENSORRT, True, 127),
    ],
)
def test_weights_have_7_bits_on_request_and_for_cpus_alone(
    tiny, frames, recipe, reduce_range, largest
):
    model = quantize(tiny, frames[:2], Int8Options(reduce_range=reduce_range))[recipe]

    found = [np.abs(weights_of(model, name).astype(int)).max() for name in [*CONVOLUTIONS, LAST]]
    assert found == [largest] * 3


def test_no_room_for_temporary_files_is_told_with_the_remedy(tiny, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    with pytest.raises(PackageError, match=r"temporary files: No such file.*set TMPDIR"):
        quantize(tiny, frames[:2], Int8Options())


@pytest.fixture
def outlier(frames):
    """Five frames of little contrast; one pixel of the last, in all crops, is white."""
    calm = frames[:5] // 8 + np.uint8(100)
    calm[4, 8, 10] = 255
    return calm


def scale_of_input(model):
    return float(constants_of(model)["crops_scale"])


def test_minmax_takes_all_of_the_range_of_every_frame(tiny, outlier):
    model = quantize(tiny, outlier, Int8Options(calibrator=Calibrator.MINMAX))[Recipe.TENSORRT]

    assert scale_of_input(model) == pytest.approx((255 - 104) / 127)


@pytest.mark.parametrize("calibrator", [Calibrator.PERCENTILE, Calibrator.ENTROPY])
def test_other_calibrators_give_up_the_outermost(tiny, outlier, calibrator):
    model = quantize(tiny, outlier, Int8Options(calibrator=calibrator))[Recipe.TENSORRT]

    assert scale_of_input(model) < (255 - 104) / 127


def test_quantizing_is_silent_and_changes_nothing_that_it_is_given(tiny, frames, capfd):
    before, pixels = tiny.SerializeToString(), frames.copy()

    quantize(tiny, frames[:2], Int8Options())

    assert capfd.readouterr() == ("", "")
    assert tiny.SerializeToString() == before
    np.testing.assert_array_equal(frames, pixels)


def test_the_same_frames_give_the_same_graphs(serve, frames, quantized):
    again = quantize(serve(tiny_net(), tiny_blobs(), crops=10), frames[0::2], Int8Options())

    for recipe in Recipe:
        assert again[recipe].SerializeToString() == quantized[recipe].SerializeToString()
