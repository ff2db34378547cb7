import hashlib

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import FileUnreadable, PackageError
from tsnd_builder.manifest import (
    FORMAT_VERSION,
    manifest_json,
    modality_of,
    precision_of,
    read_artifact,
    read_manifest,
    read_serving_model,
)
from tsnd_builder.serving_graph import Modality

SERVING, TENSORRT = pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_TENSORRT_ONNX
FP32, FP16, INT8 = pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8


def artifact(folder, file, *, kind=SERVING, precision=FP16):
    data = file.encode()
    (folder / file).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return pb.Artifact(file=file, kind=kind, precision=precision, sha256=digest)


@pytest.fixture
def manifest(tmp_path):
    """A manifest with one file of each use; the content of each is its name."""
    return pb.ModelManifest(
        format_version=FORMAT_VERSION,
        modality=pb.MODALITY_RGB,
        artifacts=[
            artifact(tmp_path, "half", precision=FP16),
            artifact(tmp_path, "int8", precision=INT8),
            artifact(tmp_path, "int8-tensorrt", precision=INT8, kind=TENSORRT),
            artifact(tmp_path, "float", precision=FP32),
        ],
    )


@pytest.fixture
def write(tmp_path, manifest):
    """Write the manifest, changed or not, and return its folder."""

    def write_manifest():
        (tmp_path / "manifest.json").write_bytes(manifest_json(manifest))
        return tmp_path

    return write_manifest


@pytest.mark.parametrize(
    ("kind", "precision", "file"),
    [(SERVING, FP16, "half"), (SERVING, INT8, "int8"), (TENSORRT, INT8, "int8-tensorrt")],
)
def test_a_file_is_found_by_its_use(write, kind, precision, file):
    data, entry = read_artifact(write(), kind=kind, precision=precision)

    assert (data, entry.file) == (file.encode(), file)


@pytest.mark.parametrize("precision", [FP32, pb.PRECISION_UNSPECIFIED])
def test_the_serving_graph_is_found_also_when_it_states_no_precision(write, manifest, precision):
    manifest.artifacts[3].precision = precision

    data, entry = read_serving_model(write())

    assert data == b"float"
    assert precision_of(entry) == FP32


def test_files_that_are_no_graph_have_no_precision():
    assert not precision_of(pb.Artifact(kind=pb.ARTIFACT_KIND_LABELS))


def test_a_use_that_no_file_has_is_refused_by_its_name(write):
    with pytest.raises(PackageError, match="has no ARTIFACT_KIND_TENSORRT_ONNX in PRECISION_FP16"):
        read_artifact(write(), kind=TENSORRT, precision=FP16)


def test_a_file_of_other_content_is_refused(write):
    (write() / "float").write_bytes(b"other")

    with pytest.raises(PackageError, match="float is not the file that was built"):
        read_serving_model(write())


def test_a_file_that_is_missing_is_refused(write):
    (write() / "float").unlink()

    with pytest.raises(FileUnreadable, match="float: No such file"):
        read_serving_model(write())


@pytest.mark.parametrize(
    "file",
    [
        "../x",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\0b",
        "\x1b[31mx",
        "x\ny",
        "x/",
        "./x",
        "manifest.json",
    ],
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(write, manifest, file):
    manifest.artifacts[0].file = file

    with pytest.raises(PackageError, match=r"names the file .*expected one that lies beside it"):
        read_manifest(write())


def test_a_precision_of_a_later_version_is_refused(tmp_path, manifest):
    text = manifest_json(manifest).replace(b'"PRECISION_FP16"', b"77")
    (tmp_path / "manifest.json").write_bytes(text)

    with pytest.raises(PackageError, match="half has precision 77, which this version"):
        read_manifest(tmp_path)


def test_all_that_is_known_of_a_file_comes_back_as_it_was_written(write, manifest):
    noise = [pb.LayerNoise(layer="conv1", snr_db=12.5)]
    accuracy = pb.Accuracy(snippets=3, top1=0.5, clear_snippets=2, worst_layers=noise)
    quantization = pb.Quantization(calibrator="entropy", videos=["a.mp4"], accuracy=accuracy)
    manifest.artifacts[1].quantization.CopyFrom(quantization)
    manifest.artifacts[0].float_nodes.add(name="conv1", reason="early")

    assert read_manifest(write()) == manifest


@pytest.mark.parametrize("modality", list(Modality))
def test_the_modality_is_that_of_the_builder(modality):
    manifest = pb.ModelManifest(modality=pb.Modality.Value(f"MODALITY_{modality.name}"))

    assert modality_of(manifest) is modality
