"""The builder against what the original Caffe fork and TSN's own scripts computed."""

import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.builders import max_relative_error, run_onnx
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.graph import Graph
from tsnd_builder.errors import LayerError
from tsnd_builder.export import export_onnx
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.serving_graph import Modality, ServingSpec, build_crops_model

# Float32 sums of a few hundred terms, added in another order than OpenBLAS does.
ZOO_TOLERANCE = 1e-5
# The same through 69 or 94 convolutions, each of up to thousands of terms.
NET_TOLERANCE = {"bn_inception": 1e-4, "inception_v3": 2e-4}

DATA = Path(__file__).resolve().parents[1] / "data"
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
REFUSED = {
    "pool_max_empty_window": r"'p' \(Pooling\).*outside the image.*-FLT_MAX",
    "pool_ave_empty_window": r"'p' \(Pooling\).*outside the image.*NaN",
    "pool_max_mask_top": r"'p' \(Pooling\).*2 top\(s\), expected 1",
    "batchnorm_use_batch_stats": r"\(BatchNorm\).*use_global_stats is false.*remove it",
}

needs_golden_data = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the full golden data does not lie beside this repository"
)
folded_and_kept = pytest.mark.parametrize("keep_bn", [False, True], ids=["folded", "kept"])


def names_of_cases(folder):
    return sorted(case.name for case in folder.iterdir()) if folder.is_dir() else []


COPIED = names_of_cases(DATA / "caffe_zoo")
NETS = names_of_cases(GOLDEN / "caffe" / "nets")


def read_arrays(path):
    """Return the arrays of an npz file: kind -> blob -> array."""
    arrays: dict[str, dict[str, npt.NDArray[Any]]] = {}
    with np.load(path) as file:
        for key in file:
            kind, _, blob = key.partition("/")
            arrays.setdefault(kind, {})[blob] = file[key]
    return arrays


def run_case(
    folder,
    blobs,
    *,
    prototxt="net.prototxt",
    weights="weights.caffemodel",
    keep_bn=False,
    storage="variance",
):
    """Convert one case, and run it on its inputs."""
    path = folder / weights
    graph = load_graph(
        folder / prototxt, path if path.exists() else None, bn_storage=BNStorage(storage)
    )
    inputs = read_arrays(folder / "io.npz")["in"]
    return run_onnx(export_onnx(graph, outputs=list(blobs), keep_bn=keep_bn), inputs)


def assert_equal_blobs(actual, expected, tolerance):
    errors = {blob: max_relative_error(actual[blob], array) for blob, array in expected.items()}
    assert errors
    assert {blob: error for blob, error in errors.items() if error > tolerance} == {}


@folded_and_kept
@pytest.mark.parametrize("case", [case for case in COPIED if case not in REFUSED])
def test_net_computes_what_caffe_computes(case, keep_bn):
    folder = DATA / "caffe_zoo" / case
    expected = read_arrays(folder / "io.npz")["out"]

    actual = run_case(folder, expected, keep_bn=keep_bn)

    assert_equal_blobs(actual, expected, ZOO_TOLERANCE)


@pytest.mark.parametrize("case", REFUSED)
def test_layer_that_is_not_converted_is_refused_with_its_reason(case):
    folder = DATA / "caffe_zoo" / case

    with pytest.raises(LayerError, match=REFUSED[case]):
        run_case(folder, ["p"])


@folded_and_kept
def test_inverse_deviations_are_read_as_such(keep_bn):
    folder = DATA / "caffe_zoo" / "bn_invstd_style"
    expected = read_arrays(folder / "io.npz")["out"]

    actual = run_case(
        folder,
        expected,
        weights="weights_invstd.caffemodel",
        keep_bn=keep_bn,
        storage="inverse-std",
    )

    assert_equal_blobs(actual, expected, ZOO_TOLERANCE)


def test_inverse_deviations_read_as_variances_go_wrong_just_as_in_caffe():
    folder = DATA / "caffe_zoo" / "bn_invstd_style"
    expected = read_arrays(folder / "io.npz")["wrong"]

    actual = run_case(folder, expected, weights="weights_invstd.caffemodel")

    assert_equal_blobs(actual, expected, ZOO_TOLERANCE)


@pytest.mark.parametrize(
    "weights", sorted(p.name for p in (DATA / "caffe_zoo" / "formats_v2").glob("weights_*"))
)
def test_every_encoding_of_the_same_weights_gives_the_same_result(weights):
    folder = DATA / "caffe_zoo" / "formats_v2"
    expected = read_arrays(folder / "io.npz")["out"]
    usual = run_case(folder, expected)

    actual = run_case(folder, expected, weights=weights)

    assert all(np.array_equal(actual[blob], usual[blob]) for blob in expected)
    assert_equal_blobs(actual, expected, ZOO_TOLERANCE)


@pytest.mark.parametrize("weights", ["weights.caffemodel", "weights_v2.caffemodel"])
@pytest.mark.parametrize("prototxt", ["net.prototxt", "net_v2.prototxt"])
def test_a_v1_net_and_its_upgrade_by_caffe_are_the_same(prototxt, weights):
    folder = DATA / "caffe_zoo" / "v1_net"
    expected = read_arrays(folder / "io.npz")["out"]
    usual = run_case(folder, expected)

    actual = run_case(folder, expected, prototxt=prototxt, weights=weights)

    assert all(np.array_equal(actual[blob], usual[blob]) for blob in expected)
    assert_equal_blobs(actual, expected, ZOO_TOLERANCE)


@needs_golden_data
def test_every_case_of_the_full_zoo_lies_beside_these_tests():
    assert names_of_cases(GOLDEN / "caffe" / "zoo") == COPIED


@pytest.fixture(scope="module")
def full_net(tmp_path_factory):
    """Load one of the full nets: its graph, its input and the expected blobs."""
    loaded: dict[str, tuple[Graph, dict[str, dict[str, npt.NDArray[Any]]]]] = {}

    def load(name):
        if name not in loaded:
            loaded.clear()  # one net at a time: each takes some 100 MB
            folder = GOLDEN / "caffe" / "nets" / name
            weights = tmp_path_factory.mktemp(name) / "weights.caffemodel"
            weights.write_bytes(lzma.decompress((folder / "weights.caffemodel.xz").read_bytes()))
            graph = load_graph(folder / "deploy.prototxt", weights)
            weights.unlink()
            loaded[name] = (graph, read_arrays(folder / "io.npz"))
        return loaded[name]

    return load


@needs_golden_data
@folded_and_kept
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.startswith("inception_v3") else ())
        for name in NETS
    ],
)
def test_full_net_computes_what_caffe_computes(name, keep_bn, full_net):
    graph, arrays = full_net(name)
    pixels, mean = arrays["in_u8"]["data"], arrays["mean"]["data"]
    image = pixels.astype(np.float32) - mean.reshape(-1, 1, 1)
    model = export_onnx(graph, outputs=[*arrays["out"], *arrays["mid0"]], keep_bn=keep_bn)

    actual = run_onnx(model, {"data": image})

    tolerance = NET_TOLERANCE[name.rpartition("_")[0]]
    assert_equal_blobs(actual, arrays["out"], tolerance)
    firsts = {blob: actual[blob][:1] for blob in arrays["mid0"]}
    assert_equal_blobs(firsts, arrays["mid0"], tolerance)


def crops_of(snippets, modality, crop_size):
    """Run the preprocessing of ten crops alone."""
    _, *shape = snippets.shape
    is_rgb = modality is Modality.RGB
    channels, (height, width) = (shape[2], shape[:2]) if is_rgb else (shape[0], shape[1:])
    mean = (104.0, 117.0, 123.0) if is_rgb else (128.0,) * channels
    spec = ServingSpec(modality, channels, height, width, crop_size, 10, mean)
    return run_onnx(build_crops_model(spec), {"snippets": snippets})["crops"]


@pytest.mark.parametrize("size", ["small", "odd"])
@pytest.mark.parametrize(
    ("modality", "pixels", "crops"),
    [(Modality.RGB, "bgr", "caffe_rgb_22"), (Modality.FLOW, "flow", "caffe_flow_22")],
    ids=["rgb", "flow"],
)
def test_ten_crops_are_exactly_those_of_tsn(size, modality, pixels, crops):
    with np.load(DATA / "tencrop_small.npz") as golden:
        snippet, expected = golden[f"{size}_{pixels}"], golden[f"{size}_{crops}"]

    actual = crops_of(snippet[np.newaxis], modality, 22)

    np.testing.assert_array_equal(actual, expected)


@needs_golden_data
@pytest.mark.parametrize("modality", list(Modality))
def test_ten_crops_of_a_full_frame_are_exactly_those_of_tsn(modality):
    folder = GOLDEN / "tsn" / "tencrop"
    meta = json.loads((folder / "tencrop_meta.json").read_text(encoding="utf-8"))
    with np.load(folder / "tencrop.npz") as golden:
        frame, flow = golden["big_bgr"], np.tile(golden["big_flow_xy"], (5, 1, 1))
    snippet = frame if modality is Modality.RGB else flow

    actual = crops_of(snippet[np.newaxis], modality, 224)

    expected = meta["full_size"][f"big_caffe_{modality}_224"]["sha256"]
    assert hashlib.sha256(actual.tobytes()).hexdigest() == expected
