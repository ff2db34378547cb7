from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    graph_of,
    layer,
    max_relative_error,
    net,
    random_bytes,
    random_floats,
    run_onnx,
    tiny_blobs,
    tiny_net,
)
from tsnd_builder.caffe.graph import Graph
from tsnd_builder.errors import SelectionError
from tsnd_builder.export import IR_VERSION, OPSET, export_onnx
from tsnd_builder.serving_graph import (
    FEATURES,
    INPUT,
    SCORES,
    Heads,
    Modality,
    ServingSpec,
    build_crops_model,
    build_serving_model,
    classes,
    crop_offsets,
    feature_length,
    find_heads,
    serving_spec,
)

# Ten crops are averaged and the whole net runs in float32, in either order of sums.
SERVING_TOLERANCE = 1e-4

CHANNELS = {Modality.RGB: 3, Modality.FLOW: 10}
GLOBAL_POOL = layer(
    "gp", "Pooling", "data", "gp", "pooling_param { pool: AVE global_pooling: true }"
)
FC = layer("fc", "InnerProduct", "gp", "fc", "inner_product_param { num_output: 2 }")

modalities = pytest.mark.parametrize("modality", list(Modality))
crop_counts = pytest.mark.parametrize("crops", [1, 10])


@dataclass(frozen=True)
class Serving:
    graph: Graph
    spec: ServingSpec
    heads: Heads
    model: onnx.ModelProto

    def snippets(self, count: int, seed: int = 1) -> npt.NDArray[np.uint8]:
        return random_bytes(seed, count, *self.spec.snippet_shape)


@pytest.fixture
def make_serving(tmp_path):
    """Build the serving graph of the tiny net."""

    def make(modality, crops, frame_size=None):
        channels = CHANNELS[modality]
        graph = graph_of(tmp_path, tiny_net(channels=channels), tiny_blobs(channels=channels))
        spec = serving_spec(graph, modality, crops_per_snippet=crops, frame_size=frame_size)
        heads = find_heads(graph)
        return Serving(graph, spec, heads, build_serving_model(graph, spec, heads))

    return make


def cut_crops(snippet, spec):
    """Cut, mirror and centre the crops of one snippet as TSN's scripts do."""
    is_rgb = spec.modality is Modality.RGB
    planes = (snippet.transpose(2, 0, 1) if is_rgb else snippet).astype(np.float64)
    size, (height, width) = spec.crop_size, planes.shape[1:]
    tops, lefts = (0, height - size), (0, width - size)
    corners = [(top, left) for top in tops for left in lefts]
    centre = ((height - size) // 2, (width - size) // 2)
    offsets = [*corners, centre] if spec.crops_per_snippet == 10 else [centre]
    crops = [planes[:, top : top + size, left : left + size] for top, left in offsets]
    if spec.crops_per_snippet == 10:
        for crop in crops[:5]:
            mirrored = crop[:, :, ::-1].copy()
            if not is_rgb:
                mirrored[::2] = 255 - mirrored[::2]
            crops.append(mirrored)
    return np.stack(crops) - np.reshape(spec.mean, (-1, 1, 1))


def score_in_numpy(serving, snippets):
    """Crop in NumPy, run the network alone, and average over the crops of each snippet."""
    blobs = {SCORES: serving.heads.scores, FEATURES: serving.heads.features}
    network = export_onnx(serving.graph, outputs=list(blobs.values()))
    rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in blobs}
    for snippet in snippets:
        crops = cut_crops(snippet, serving.spec).astype(np.float32)
        results = run_onnx(network, {"data": crops})
        for name, blob in blobs.items():
            rows[name].append(results[blob].reshape(len(crops), -1).mean(axis=0))
    return {name: np.stack(values) for name, values in rows.items()}


@modalities
@crop_counts
@pytest.mark.parametrize("frame_size", [None, (14, 14), (17, 23)], ids=str)
def test_serving_equals_cropping_in_numpy_and_the_plain_network(
    make_serving, modality, crops, frame_size
):
    serving = make_serving(modality, crops, frame_size)
    snippets = serving.snippets(3)

    actual = run_onnx(serving.model, {INPUT: snippets})

    expected = score_in_numpy(serving, snippets)
    assert list(actual) == [SCORES, FEATURES]
    for name, values in expected.items():
        assert max_relative_error(actual[name], values) < SERVING_TOLERANCE


@modalities
@crop_counts
def test_each_snippet_of_a_batch_is_scored_as_if_alone(make_serving, modality, crops):
    serving = make_serving(modality, crops)
    snippets = serving.snippets(5)

    together = run_onnx(serving.model, {INPUT: snippets})

    for index, snippet in enumerate(snippets):
        alone = run_onnx(serving.model, {INPUT: snippet[np.newaxis]})
        for name in (SCORES, FEATURES):
            assert max_relative_error(together[name][index], alone[name][0]) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("modality", "shape"), [(Modality.RGB, [16, 21, 3]), (Modality.FLOW, [10, 16, 21])]
)
def test_inputs_and_outputs_are_those_of_the_contract(make_serving, modality, shape):
    model = make_serving(modality, 10).model

    values = [*model.graph.input, *model.graph.output]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    ]
    assert [value.name for value in values] == [INPUT, SCORES, FEATURES]
    assert [value.type.tensor_type.elem_type for value in values] == [
        onnx.TensorProto.UINT8,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT,
    ]
    assert shapes == [["N", *shape], ["N", 5], ["N", 10]]


def test_the_joined_model_is_of_the_projects_opset_and_net(make_serving):
    model = make_serving(Modality.RGB, 10).model

    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert (model.ir_version, model.producer_name) == (IR_VERSION, "tsnd")
    assert model.graph.name == "small"


def test_mirrored_flow_points_the_other_way_along_x_alone():
    spec = ServingSpec(Modality.FLOW, 4, 2, 2, 2, 10, (128.0,) * 4)
    snippet = np.array([[[1, 2], [3, 4]]] * 4, np.uint8)

    crops = run_onnx(build_crops_model(spec), {INPUT: snippet[np.newaxis]})["crops"]

    mirrored = np.array([[2.0, 1.0], [4.0, 3.0]])
    for channel in range(4):
        pixels = 255 - mirrored if channel % 2 == 0 else mirrored
        np.testing.assert_array_equal(crops[5, channel], pixels - 128)


def test_crops_come_crop_by_crop_and_within_each_snippet_by_snippet():
    spec = ServingSpec(Modality.RGB, 3, 5, 7, 4, 10, (104.0, 117.0, 123.0))
    snippets = random_bytes(1, 3, 5, 7, 3)

    crops = run_onnx(build_crops_model(spec), {INPUT: snippets})["crops"]

    expected = np.stack([cut_crops(snippet, spec) for snippet in snippets], axis=1)
    np.testing.assert_array_equal(crops, expected.reshape(crops.shape))


@pytest.mark.parametrize(
    ("crops", "offsets"),
    [(1, ((16, 58),)), (10, ((0, 0), (0, 116), (32, 0), (32, 116), (16, 58)))],
)
def test_crops_lie_where_tsn_cuts_them(crops, offsets):
    spec = ServingSpec(Modality.RGB, 3, 256, 340, 224, crops, (0.0,) * 3)

    assert crop_offsets(spec) == offsets


@pytest.mark.parametrize(
    ("crop_size", "frame_size"), [(224, (256, 340)), (299, (341, 453)), (14, (16, 21))]
)
def test_frames_are_256_x_340_by_default_or_in_proportion(tmp_path, crop_size, frame_size):
    text = net(GLOBAL_POOL, FC, data=(1, 3, crop_size, crop_size))
    graph = graph_of(tmp_path, text, {"fc": [np.ones((2, 3)), np.ones(2)]})

    spec = serving_spec(graph, Modality.RGB, crops_per_snippet=1)

    assert (spec.frame_height, spec.frame_width) == frame_size
    assert (spec.crop_size, spec.channels, spec.stack_depth) == (crop_size, 3, 0)


def test_means_and_stack_depth_follow_the_modality(make_serving):
    rgb, flow = (make_serving(modality, 1).spec for modality in Modality)

    assert (rgb.mean, rgb.stack_depth) == ((104.0, 117.0, 123.0), 0)
    assert (flow.mean, flow.stack_depth) == ((128.0,) * 10, 5)


@pytest.fixture
def graph_with_input(tmp_path):
    """Load a net that takes inputs of these shapes."""

    def load(*shapes):
        inputs = {f"in{index}": shape for index, shape in enumerate(shapes)}
        return graph_of(tmp_path, net(layer("r", "ReLU", "in0", "x"), **inputs))

    return load


@pytest.mark.parametrize(
    ("modality", "channels"),
    [(Modality.RGB, 10), (Modality.RGB, 1), (Modality.FLOW, 3), (Modality.FLOW, 11)],
)
def test_a_network_of_the_other_modality_is_refused(graph_with_input, modality, channels):
    graph = graph_with_input((1, channels, 14, 14))

    with pytest.raises(
        SelectionError,
        match=rf"net\.prototxt takes {channels} channels.*--modality {modality}.*other modality",
    ):
        serving_spec(graph, modality, crops_per_snippet=1)


@pytest.mark.parametrize(
    "shapes",
    [[(1, 3, 14, 14), (1, 3, 14, 14)], [(1, 3)], [(1, 3, 14, 15)], [(1, 3, 5, 14, 14)]],
    ids=["two", "flat", "oblong", "volume"],
)
def test_a_network_that_takes_no_square_image_is_refused(graph_with_input, shapes):
    with pytest.raises(
        SelectionError, match=r"takes inputs of shapes .*\[N, channels, size, size\]"
    ):
        serving_spec(graph_with_input(*shapes), Modality.RGB, crops_per_snippet=1)


@pytest.mark.parametrize(
    "mixing",
    [
        layer("m", "Softmax", "data", "m", "softmax_param { axis: 0 }"),
        layer("m", "Reshape", "data", "m", "reshape_param { shape { dim: [2, 3, -1] } }"),
        layer("m", "Reshape", "data", "m", "reshape_param { shape { dim: [3, -1] } }"),
        layer("m", "Slice", "data", "m n", "slice_param { axis: 0 }"),
        layer("m", "Reduction", "data", "m"),
    ],
    ids=["softmax", "reshape", "reshape_inferred", "slice", "reduction"],
)
def test_a_network_that_mixes_the_rows_of_a_batch_is_refused(tmp_path, mixing):
    graph = graph_of(tmp_path, net(mixing, data=(2, 3, 14, 14)))

    with pytest.raises(
        SelectionError, match=r"net\.prototxt mixes the rows of a batch.*tsn-build convert"
    ):
        serving_spec(graph, Modality.RGB, crops_per_snippet=1)


@pytest.mark.parametrize("frame_size", [(13, 20), (20, 13), (1, 1)])
def test_frames_smaller_than_a_crop_are_refused(graph_with_input, frame_size):
    with pytest.raises(SelectionError, match="are smaller than the network's crop of 14"):
        serving_spec(
            graph_with_input((1, 3, 14, 14)),
            Modality.RGB,
            crops_per_snippet=1,
            frame_size=frame_size,
        )


@pytest.mark.parametrize("frame_size", [(65_536, 20), (20, 10**30)])
def test_frames_larger_than_any_decoder_makes_are_refused(graph_with_input, frame_size):
    with pytest.raises(SelectionError, match="are too large"):
        serving_spec(
            graph_with_input((1, 3, 14, 14)),
            Modality.RGB,
            crops_per_snippet=1,
            frame_size=frame_size,
        )


@pytest.mark.parametrize("crops", [0, 2, 5, 25])
def test_other_numbers_of_crops_are_refused(graph_with_input, crops):
    with pytest.raises(SelectionError, match="not a protocol of TSN; use 1 or 10"):
        serving_spec(graph_with_input((1, 3, 14, 14)), Modality.RGB, crops_per_snippet=crops)


def test_heads_are_what_the_last_inner_product_gives_and_reads(make_serving):
    serving = make_serving(Modality.RGB, 1)

    assert serving.heads == Heads(scores="fc-action", features="global_pool")
    assert classes(serving.graph, serving.heads) == 5
    assert feature_length(serving.graph, serving.heads) == 10


def test_scores_are_taken_before_a_softmax(tmp_path):
    text = net(GLOBAL_POOL, FC, layer("prob", "Softmax", "fc", "prob"))
    graph = graph_of(tmp_path, text, {"fc": [np.ones((2, 3)), np.ones(2)]})

    assert find_heads(graph) == Heads(scores="fc", features="gp")


def test_of_several_inner_products_the_last_is_the_classifier(tmp_path):
    hidden = layer("ip", "InnerProduct", "gp", "ip", "inner_product_param { num_output: 4 }")
    text = net(
        GLOBAL_POOL,
        hidden,
        layer("r", "ReLU", "ip", "ip"),
        FC.replace('bottom: "gp"', 'bottom: "ip"'),
    )
    blobs = {"ip": [np.ones((4, 3)), np.ones(4)], "fc": [np.ones((2, 4)), np.ones(2)]}

    assert find_heads(graph_of(tmp_path, text, blobs)) == Heads(scores="fc", features="ip")


def test_a_network_without_a_classifier_is_refused(graph_with_input):
    with pytest.raises(SelectionError, match="no InnerProduct layer that would give class scores"):
        find_heads(graph_with_input((1, 3, 14, 14)))


def test_scores_that_are_overwritten_in_place_are_refused(tmp_path):
    text = net(GLOBAL_POOL, FC, layer("prob", "Softmax", "fc", "fc"))
    graph = graph_of(tmp_path, text, {"fc": [np.ones((2, 3)), np.ones(2)]})

    with pytest.raises(
        SelectionError, match=r"the blob 'fc' is overwritten in place.*separate tops"
    ):
        find_heads(graph)


def test_a_classifier_right_on_the_pixels_is_refused(tmp_path):
    fc = layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 2 }")
    graph = graph_of(
        tmp_path, net(fc, data=(1, 3, 2, 2)), {"fc": [random_floats(1, 2, 12), np.ones(2)]}
    )
    spec = serving_spec(graph, Modality.RGB, crops_per_snippet=1)

    with pytest.raises(SelectionError, match=r"'data' is an input .* cannot also be an output"):
        build_serving_model(graph, spec, find_heads(graph))
