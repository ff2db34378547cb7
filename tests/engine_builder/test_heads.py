"""Linear heads of a user's own, from an .npz file to an output of the served graph."""

import numpy as np
import onnx
import pytest

from tests.builders import run_onnx, write_tiny_caffe_model
from tsnd_builder.__main__ import main
from tsnd_builder.errors import FileUnreadable, SelectionError
from tsnd_builder.heads import read_heads
from tsnd_builder.manifest import read_manifest

FEATURES = 6
FLOAT32_TOLERANCE = 1e-5


def write_head(folder, name="ssn.npz", **arrays):
    np.savez(folder / name, **arrays)
    return folder / name


def test_a_head_is_read_as_float32_with_a_bias_of_zero_if_it_has_none(tmp_path):
    path = write_head(tmp_path, weight=np.arange(12.0).reshape(2, FEATURES))

    (head,) = read_heads({"ssn": path}, feature_length=FEATURES)

    assert (head.name, head.bias.tolist()) == ("ssn", [0.0, 0.0])
    assert head.weight.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"bias": np.zeros(2)}, "holds the arrays bias; a head is `weight`"),
        ({"weight": np.zeros((2, 6)), "extra": np.zeros(1)}, "holds the arrays extra, weight"),
        ({"weight": np.zeros((2, 7))}, r"weight of shape \[2, 7\].*need \[out, 6\]"),
        ({"weight": np.zeros(6)}, r"weight of shape \[6\]"),
        ({"weight": np.zeros((0, 6))}, r"weight of shape \[0, 6\]"),
        ({"weight": np.zeros((2, 6)), "bias": np.zeros(3)}, r"bias of shape \[3\]"),
        ({"weight": np.full((2, 6), np.nan)}, "must be finite numbers"),
        ({"weight": np.full((2, 6), "x")}, r"weight \(<U1\) must be finite numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_what_was_expected(tmp_path, arrays, reason):
    path = write_head(tmp_path, **arrays)

    with pytest.raises(SelectionError, match=reason):
        read_heads({"ssn": path}, feature_length=FEATURES)


@pytest.mark.parametrize("name", ["", "scores", "features", "snippets", "a b", "1st", "x" * 65])
def test_a_name_that_is_taken_or_no_word_is_refused(tmp_path, name):
    path = write_head(tmp_path, weight=np.zeros((2, FEATURES)))

    with pytest.raises(SelectionError, match="cannot name a head"):
        read_heads({name: path}, feature_length=FEATURES)


@pytest.mark.parametrize("content", [b"PK\x03\x04 broken", b"text", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "head.npz"
    path.write_bytes(content)

    with pytest.raises(SelectionError, match=r"is not an \.npz file of plain arrays"):
        read_heads({"ssn": path}, feature_length=FEATURES)


def test_pickled_objects_are_never_loaded(tmp_path):
    path = write_head(tmp_path, weight=np.array([{"a": 1}], dtype=object))

    with pytest.raises(SelectionError, match="plain arrays"):
        read_heads({"ssn": path}, feature_length=FEATURES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileUnreadable, match=r"nobody\.npz"):
        read_heads({"ssn": tmp_path / "nobody.npz"}, feature_length=FEATURES)


@pytest.mark.parametrize("crops", ["1", "10"])
def test_a_served_head_is_linear_in_the_served_features(tmp_path, crops):
    prototxt, weights, labels = write_tiny_caffe_model(tmp_path)
    base = ["build", "--prototxt", str(prototxt), "--weights", str(weights)]
    base += ["--labels", str(labels), "--modality", "rgb", "--crops", crops, "--name", "m"]
    assert main([*base, "--repository", str(tmp_path / "plain")]) == 0
    length = read_manifest(tmp_path / "plain" / "m" / "1").outputs[1].shape[0]
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, length)), rng.normal(size=3)
    head = write_head(tmp_path, weight=weight, bias=bias)

    repository = tmp_path / "models"
    assert main([*base, "--repository", str(repository), "--head", f"ssn={head}"]) == 0

    manifest = read_manifest(repository / "m" / "1")
    frames = rng.integers(0, 256, (4, *manifest.input.shape), dtype=np.uint8)
    outputs = run_onnx(onnx.load(repository / "m" / "1" / "model.onnx"), {"snippets": frames})
    expected = outputs["features"] @ weight.T + bias
    np.testing.assert_allclose(outputs["ssn"], expected, rtol=0, atol=FLOAT32_TOLERANCE)
    assert [(o.name, list(o.shape)) for o in manifest.outputs][2:] == [("ssn", [3])]
    assert "ssn.npz" in [source.file for source in manifest.sources]
