import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.builders import layer, net
from tsnd_builder.inference import open_session, run_batches, with_outputs
from tsnd_builder.precision.accuracy import compare_scores
from tsnd_builder.precision.bias_correction import correct_biases
from tsnd_builder.precision.int8 import Int8Options, Recipe, quantize
from tsnd_builder.probes import natural_frames
from tsnd_builder.serving_graph import Modality

CONV = "convolution_param { num_output: 6 kernel_size: 3 }"
FC = "inner_product_param { num_output: 4 }"
POOL = "pooling_param { pool: AVE global_pooling: true }"

each_recipe = pytest.mark.parametrize("recipe", list(Recipe))


def blobs_of_chain():
    """Draw weights of positive mean, whose rounding shifts what they make."""
    rng = np.random.default_rng(1)
    blobs = {"a": [rng.normal(0.0, 0.01, (6, 3, 3, 3)), rng.normal(1.0, 0.1, 6)]}
    for name in ("b", "c"):
        blobs[name] = [rng.uniform(0.0, 0.05, (6, 6, 3, 3)), rng.normal(0.0, 0.1, 6)]
    return blobs | {"fc": [rng.normal(size=(4, 6)), np.zeros(4)]}


@pytest.fixture
def chain(serve):
    """A net of three convolutions with ReLUs; `bias` writes their bias_term."""

    def make(bias="true"):
        conv = CONV.replace("}", f"bias_term: {bias} }}")
        layers = [layer("a", "Convolution", "data", "a", CONV), layer("ar", "ReLU", "a", "ar")]
        for name, bottom in (("b", "ar"), ("c", "br")):
            layers.append(layer(name, "Convolution", bottom, name, conv))
            layers.append(layer(f"{name}r", "ReLU", name, f"{name}r"))
        layers.append(layer("p", "Pooling", "cr", "p", POOL))
        layers.append(layer("fc", "InnerProduct", "p", "fc", FC))
        blobs = blobs_of_chain()
        if bias == "false":
            blobs["b"], blobs["c"] = blobs["b"][:1], blobs["c"][:1]
        return serve(net(*layers, data=(1, 3, 14, 14)), blobs)

    return make


@pytest.fixture
def photos():
    return natural_frames((16, 21, 3), Modality.RGB, 25, 5)


def uncorrected(model, quantized):
    """Return a quantized graph with the biases that rounding alone gives."""
    original = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    plain = onnx.ModelProto()
    plain.CopyFrom(quantized)
    constants = {t.name: t for t in plain.graph.initializer}
    for name, constant in constants.items():
        if name.endswith(".bias_quantized"):
            scale = numpy_helper.to_array(constants[f"{name}_scale"])
            steps = np.rint(original[name.removesuffix("_quantized")] / scale)
            constant.CopyFrom(numpy_helper.from_array(steps.astype(np.int32), name))
        elif name.endswith(".bias"):
            constant.CopyFrom(numpy_helper.from_array(original[name], name))
    return plain


def output_of(model, layer_name, frames):
    """Return what a convolution makes, before any ReLU or rounding."""
    (value,) = [n.output[0] for n in model.graph.node if n.name == f"network/{layer_name}"]
    session = open_session(with_outputs(model, [value]), exact_int8=True)
    return run_batches(session, [value], frames)[0].astype(np.float64)


def mean_shift(model, quantized, layer_name, frames):
    """Return the largest shift of a channel's mean."""
    shift = output_of(quantized, layer_name, frames) - output_of(model, layer_name, frames)
    return float(np.abs(shift.mean(axis=(0, 2, 3))).max())


def snr_db(model, quantized, frames):
    (expected,) = run_batches(open_session(model), ["scores"], frames)
    (found,) = run_batches(open_session(quantized, exact_int8=True), ["scores"], frames)
    return compare_scores(found, expected).snr_db


@each_recipe
@pytest.mark.parametrize("count", [1, 4, 5])
@pytest.mark.parametrize("first", ["a", "b", "c"])
def test_the_first_quantized_layer_keeps_the_means_of_its_channels(
    chain, photos, recipe, count, first
):
    model, frames = chain(), photos[:count]

    quantized = quantize(model, frames, Int8Options(float_layers="abc".index(first)))[recipe]

    before = mean_shift(model, uncorrected(model, quantized), first, frames)
    assert mean_shift(model, quantized, first, frames) < before / 20


@each_recipe
def test_correction_lowers_the_noise_on_other_frames(chain, photos, recipe):
    model = chain()

    quantized = quantize(model, photos[:5], Int8Options(float_layers=2))[recipe]

    plain = snr_db(model, uncorrected(model, quantized), photos[5:])
    assert snr_db(model, quantized, photos[5:]) > plain + 1


@each_recipe
def test_correcting_twice_from_the_same_start_is_the_same(chain, photos, recipe):
    model = chain()
    quantized = quantize(model, photos[:5], Int8Options())[recipe]
    plain = uncorrected(model, quantized)
    before = plain.SerializeToString()

    corrected = correct_biases(model, plain, photos[:5])

    assert plain.SerializeToString() == before
    assert mean_shift(model, corrected, "a", photos[:5]) == pytest.approx(
        mean_shift(model, quantized, "a", photos[:5]), abs=1e-5
    )


@each_recipe
def test_layers_without_a_bias_stay_as_they_are(chain, photos, recipe):
    model = chain(bias="false")

    quantized = quantize(model, photos[:2], Int8Options())[recipe]

    inputs = {n.name: len(n.input) for n in quantized.graph.node if n.op_type == "Conv"}
    assert inputs == {"network/a": 3, "network/b": 2, "network/c": 2}
    assert snr_db(model, quantized, photos[:2]) > 30


@each_recipe
def test_a_net_without_any_bias_stays_as_it_is(serve, photos, recipe):
    conv = CONV.replace("}", "bias_term: false }")
    end = [layer("fc", "InnerProduct", "a", "fc", FC)]
    rng = np.random.default_rng(2)
    blobs = {"a": [rng.normal(size=(6, 3, 3, 3))], "fc": [rng.normal(size=(4, 864)), np.zeros(4)]}
    text = net(layer("a", "Convolution", "data", "a", conv), *end, data=(1, 3, 14, 14))
    model = serve(text, blobs)

    quantized = quantize(model, photos[:2], Int8Options())[recipe]

    assert snr_db(model, quantized, photos[:2]) > 30


@each_recipe
def test_two_uses_of_one_layer_are_corrected_apart(serve, photos, recipe):
    twice = layer("a", "Convolution", "data data", "x y", CONV)
    end = [layer("s", "Eltwise", "x y", "s"), layer("fc", "InnerProduct", "s", "fc", FC)]
    rng = np.random.default_rng(2)
    blobs = {"a": [rng.uniform(0, 0.1, (6, 3, 3, 3)), np.ones(6)]}
    fc = {"fc": [rng.normal(size=(4, 864)), np.zeros(4)]}
    model = serve(net(twice, *end, data=(1, 3, 14, 14)), {**blobs, **fc})

    quantized = quantize(model, photos[:5], Int8Options())[recipe]

    for name in ("a", "a.2"):
        size = np.abs(output_of(model, name, photos[:5])).mean()
        assert mean_shift(model, quantized, name, photos[:5]) < 1e-4 * size
