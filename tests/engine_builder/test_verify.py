"""Verification notices what is wrong with a package, wherever it is wrong."""

import functools
import json
import operator
from typing import Any

import numpy as np
import onnx
import pytest

from tests.builders import run_onnx, write_tiny_caffe_model
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.__main__ import main
from tsnd_builder.artifacts import NewArtifact
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.files import sha256
from tsnd_builder.export import export_onnx
from tsnd_builder.manifest import manifest_json, read_manifest
from tsnd_builder.package import add_to_package


@pytest.fixture(params=["rgb", "flow"])
def package(request, tmp_path):
    """A tiny package of ten crops, and the Caffe files it was built from."""
    channels = 3 if request.param == "rgb" else 10
    prototxt, weights, labels = write_tiny_caffe_model(tmp_path, channels=channels)
    arguments = ["build", "--prototxt", prototxt, "--weights", weights, "--labels", labels]
    arguments += ["--modality", request.param, "--crops", "10", "--name", "tiny"]
    assert main([*map(str, arguments), "--repository", str(tmp_path / "models")]) == 0
    return tmp_path / "models" / "tiny" / "1", prototxt, weights


@pytest.fixture
def reference(package, tmp_path):
    """Inputs and outputs of the plain network, as an .npz."""
    _, prototxt, weights = package
    graph = load_graph(prototxt, weights)
    shape = [int(dim) for dim in graph.inputs[0].shape[1:]]
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    outputs = run_onnx(export_onnx(graph, keep_bn=True), {graph.inputs[0].name: x})
    path = tmp_path / "io.npz"
    arrays: dict[str, Any] = {f"out/{blob}": array for blob, array in outputs.items()}
    np.savez(path, **{f"in/{graph.inputs[0].name}": x, **arrays})
    return path


def sign(folder):
    """Write the hashes of the files as they are into the manifest: they are wrong, but ours."""
    manifest = read_manifest(folder)
    for artifact in manifest.artifacts:
        artifact.sha256 = sha256((folder / artifact.file).read_bytes())
    (folder / "manifest.json").write_bytes(manifest_json(manifest))


def verify(capsys, folder, *more):
    status = main(["verify", str(folder), *map(str, more)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_good_package_passes_and_gets_its_report(package, reference, capsys):
    folder, *_ = package

    status, out, _ = verify(capsys, folder, "--reference", reference)

    report = json.loads((folder / "parity.json").read_text())
    assert status == 0
    assert "io.npz" in out
    assert {f["output"] for f in report["findings"]} >= {"scores", "features"}
    assert all(f["is_within_tolerance"] for f in report["findings"])
    assert {f["inputs"] for f in report["findings"]} == {"fixed", "natural", "its inputs"}


def change_constant(folder, name, change):
    model = onnx.load(folder / "model.onnx")
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    array = change(onnx.numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, folder / "model.onnx")
    sign(folder)


def test_wrong_preprocessing_is_noticed(package, capsys):
    folder, *_ = package
    change_constant(folder, "mean", lambda mean: mean + 1)

    status, _, err = verify(capsys, folder)

    assert status == 1
    assert "OUT OF TOLERANCE" in err


def test_mirroring_that_does_not_mirror_is_noticed(package, capsys):
    folder, *_ = package
    change_constant(folder, "mirror.columns", lambda columns: columns[::-1])

    assert verify(capsys, folder)[0] == 1


def test_a_wrong_weight_is_noticed_against_a_reference_alone(package, reference, capsys):
    folder, *_ = package
    model = onnx.load(folder / "model.onnx")
    weights = [t.name for t in model.graph.initializer if t.name.endswith(".weight")]
    change_constant(folder, weights[0], lambda weight: weight * 1.01)

    assert verify(capsys, folder)[0] == 0
    assert verify(capsys, folder, "--reference", reference)[0] == 1


def test_results_that_are_no_numbers_are_noticed(package, capsys):
    folder, *_ = package
    change_constant(folder, "mean", lambda mean: mean * np.float32(np.nan))

    assert verify(capsys, folder)[0] == 1


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"out/fc-action": np.zeros((1, 5))}, "has no input"),
        ({"in/data": np.zeros((1, 1, 2, 2))}, "has none of these blobs|the package's network has"),
        ({"in/data": np.zeros((1, 1, 2, 2)), "out/fc-action": np.zeros((1, 5))}, "does not take"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(package, tmp_path, capsys, arrays, reason):
    folder, *_ = package
    np.savez(tmp_path / "bad.npz", **arrays)

    status, _, err = verify(capsys, folder, "--reference", tmp_path / "bad.npz")

    assert status == 2
    assert any(part in err for part in reason.split("|"))


def test_what_is_no_package_is_refused(tmp_path, capsys):
    status, _, err = verify(capsys, tmp_path)

    assert status == 2
    assert "manifest.json" in err


def test_snippets_that_meet_in_a_batch_are_noticed(package, capsys):
    folder, *_ = package
    model = onnx.load(folder / "model.onnx")
    (scores,) = [n for n in model.graph.node if "scores" in n.output]
    scores.output[0] = "scores_before"
    axes = onnx.numpy_helper.from_array(np.array([0]), "batch")
    model.graph.initializer.append(axes)
    total = onnx.helper.make_node("ReduceSum", ["scores_before", "batch"], ["total"])
    mixed = onnx.helper.make_node("Add", ["scores_before", "total"], ["scores"])
    model.graph.node.extend([total, mixed])
    onnx.save(model, folder / "model.onnx")
    sign(folder)

    status, _, err = verify(capsys, folder)

    assert status == 1
    assert "against each snippet alone" in err


@pytest.fixture
def with_half(package, capsys):
    """The package with an FP16 graph; returns both paths."""
    folder, *_ = package
    assert main(["add", str(folder), "--precision", "fp16"]) == 0
    capsys.readouterr()
    (file,) = folder.glob("model-fp16-*.onnx")
    return folder, file


def add_int8(folder, model, kind):
    """Add a graph as an INT8 one, whatever it is."""
    description = pb.Artifact(kind=kind, precision=pb.PRECISION_INT8)
    new = NewArtifact(description, "model-int8", ".onnx", model.SerializeToString())
    add_to_package(folder, [new])


def spoil(model, name, change):
    """Change a constant of a graph."""
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    array = change(onnx.numpy_helper.to_array(tensor)).astype(tensor_type(tensor))
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    return model


def tensor_type(tensor):
    return onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)


def test_a_good_fp16_graph_passes_and_is_in_the_report(with_half, capsys):
    folder, file = with_half

    status, out, _ = verify(capsys, folder)

    report = json.loads((folder / "parity.json").read_text())
    found = [f for f in report["findings"] if f["artifact"] == file.name]
    assert status == 0
    assert f"{file.name} against FP32" in out
    assert [f["inputs"] for f in found[::2]] == ["extreme", "noise", "natural"]
    assert {f["tolerance"] for f in found} == {1e-2}
    assert {f["artifact"] for f in report["findings"]} == {"model.onnx", file.name}
    assert report["not_run"] == []


def test_a_wrong_weight_in_the_fp16_graph_is_noticed(with_half, capsys):
    folder, file = with_half
    weight = "network/fc-action.weight/half"
    onnx.save(spoil(onnx.load(file), weight, lambda array: array * 1.1), file)
    sign(folder)

    status, _, err = verify(capsys, folder)

    report = json.loads((folder / "parity.json").read_text())
    failed = {(f["artifact"], f["output"]) for f in report["findings"] if not passed(f)}
    assert status == 1
    assert err.count("OUT OF TOLERANCE") == 3
    assert failed == {(file.name, "scores")}


def passed(finding):
    return finding["is_within_tolerance"]


@pytest.mark.parametrize(
    "kind", [pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_TENSORRT_ONNX], ids=["cpu", "trt"]
)
@pytest.mark.parametrize(("factor", "expected"), [(1.5, 0), (np.nan, 1), (np.inf, 1)])
def test_int8_may_be_off_but_must_give_numbers(package, capsys, kind, factor, expected):
    folder, *_ = package
    weight, model = "network/fc-action.weight", onnx.load(folder / "model.onnx")
    add_int8(folder, spoil(model, weight, lambda array: array * np.float32(factor)), kind)

    status, *_ = verify(capsys, folder)

    report = json.loads((folder / "parity.json").read_text())
    assert status == expected
    assert len([f for f in report["findings"] if f["artifact"].startswith("model-int8")]) == 6


@pytest.mark.parametrize("name", ["model.onnx", "model-fp16-*.onnx"])
def test_a_graph_of_other_content_is_refused(with_half, capsys, name):
    folder, _ = with_half
    (file,) = folder.glob(name)
    onnx.save(onnx.load(file), file)
    file.write_bytes(file.read_bytes() + b"\x10\x01")  # a field more: a valid graph all the same

    status, _, err = verify(capsys, folder)

    assert status == 2
    assert f"{file.name} is not the file that was built" in err


@pytest.mark.parametrize("name", ["model.onnx", "model-fp16-*.onnx"])
@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x08"])
def test_a_graph_that_is_none_is_refused(with_half, capsys, name, data):
    folder, _ = with_half
    (file,) = folder.glob(name)
    file.write_bytes(data)
    sign(folder)

    status, _, err = verify(capsys, folder)

    assert status == 2
    assert file.name in err


def test_an_fp16_graph_that_is_missing_is_refused(with_half, capsys):
    folder, file = with_half
    file.unlink()

    status, _, err = verify(capsys, folder)

    assert status == 2
    assert file.name in err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("preprocessing", "crop_size"), 4_000_000_000),
        (("preprocessing", "crop_size"), 0),
        (("preprocessing", "crops_per_snippet"), 7),
        (("preprocessing", "mean"), []),
        (("preprocessing", "frame_height"), 4_000_000_000),
        (("preprocessing", "frame_width"), 0),
        (("input", "shape"), [16, 18]),
        (("input", "shape"), [4_000_000_000, 4_000_000_000, 3]),
        (("input", "name"), "other"),
        (("outputs",), []),
        (("outputs", 0, "shape"), [77]),
        (("outputs", 0, "caffe_blob"), "other"),
        (("preprocessing",), {}),
    ],
)
@pytest.mark.parametrize("command", ["verify", "add"])
def test_a_manifest_that_does_not_fit_its_graph_is_refused(package, capsys, command, place, value):
    folder, *_ = package
    manifest = json.loads((folder / "manifest.json").read_text())
    *path, last = place
    functools.reduce(operator.getitem, path, manifest)[last] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    options = ["--precision", "fp16"] if command == "add" else []

    status = main([command, str(folder), *options])

    assert status == (0 if command == "add" and last == "caffe_blob" else 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_graph_outside_the_package_is_not_read(with_half, capsys):
    folder, file = with_half
    file.rename(folder.parent / file.name)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(file.name, f"../{file.name}"))

    status, _, err = verify(capsys, folder)

    assert status == 2
    assert "expected one that lies beside it" in err
