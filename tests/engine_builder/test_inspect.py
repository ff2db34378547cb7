import os

import pytest

from tests.builders import layer, net, write_prototxt, write_tiny_caffe_model
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact, Precision
from tsnd_builder.commands import CaffeFiles, Lower, add, build
from tsnd_builder.errors import BuilderError, FileUnreadable, PackageError, WeightsError
from tsnd_builder.inspect import inspect_path
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.package import add_to_package
from tsnd_builder.serving_graph import Modality
from tsnd_builder.verify import verify_package


@pytest.fixture
def caffe_files(tmp_path):
    return write_tiny_caffe_model(tmp_path)


@pytest.fixture
def model_folder(tmp_path, caffe_files):
    """Build the tiny model into a repository, as version 1 of `tiny`."""
    prototxt, weights, labels = caffe_files
    build(
        CaffeFiles(prototxt, weights, BNStorage.VARIANCE),
        labels=labels,
        name="tiny",
        modality=Modality.RGB,
        crops=10,
        frame_size=None,
        repository=tmp_path / "models",
    )
    return tmp_path / "models" / "tiny"


def rows_of(text):
    """Split a report into rows of cells, which stand two spaces or more apart."""
    return [[cell.strip() for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_a_package_is_described_by_its_manifest(model_folder):
    rows = rows_of(inspect_path(model_folder / "1"))

    assert ["model", "tiny, version 1 (small)"] in rows
    assert ["modality", "rgb"] in rows
    assert ["snippets", "uint8 [16, 21, 3]"] in rows
    assert ["crops", "10 of 14 x 14"] in rows
    assert ["mean", "104, 117, 123"] in rows
    assert ["labels", "5: class 0, class 1, class 2, ..."] in rows
    assert ["scores", "float32 [5]", "fc-action"] in rows
    assert ["features", "float32 [10]", "global_pool"] in rows
    assert {row[0] for row in rows if row} >= {"model.onnx", "labels.txt", "from net.prototxt"}


def engines_of(folder):
    """Return the rows of the table of engines, by the first word of each."""
    rows = rows_of(inspect_path(folder))
    start = next(index for index, row in enumerate(rows) if row and row[0] == "precision")
    end = rows.index([], start)
    engines = (row for row in rows[start + 2 : end] if len(row) == len(rows[start]))
    return {row[0].partition(",")[0]: row for row in engines}


@pytest.fixture
def quantization():
    """What a manifest says of an INT8 graph."""
    accuracy = pb.Accuracy(
        snippets=128, top1=0.9765, clear_snippets=100, clear_top1=0.99, snr_db=32.55
    )
    return pb.Quantization(
        calibrator="percentile", calibration_snippets=64, videos=["a", "b"], accuracy=accuracy
    )


def int8(quantization, kind=pb.ARTIFACT_KIND_SERVING_ONNX, stem="model-int8"):
    description = pb.Artifact(
        kind=kind, precision=pb.PRECISION_INT8, quantization=quantization, built_at="2026-01-02"
    )
    return NewArtifact(description, stem, ".onnx", b"\0" * 1_234_567)


def test_precisions_stand_side_by_side(model_folder, quantization):
    folder = model_folder / "1"
    add(folder, Lower(frozenset({Precision.FP16})))
    tensorrt = int8(quantization, pb.ARTIFACT_KIND_TENSORRT_ONNX, "model-int8-tensorrt")
    add_to_package(folder, [int8(quantization)])

    before = engines_of(folder)
    add_to_package(folder, [tensorrt])

    assert list(before) == ["fp32", "fp16", "int8"]
    assert before["fp16"][0] == "fp16, 4 nodes fp32"
    assert before["int8"] == ["int8", "onnx", "any", "any", "1.2", "not verified", "2026-01-02"]
    assert engines_of(folder)["int8"][1] == "onnx for TensorRT"


def test_what_int8_lost_is_shown(model_folder, quantization):
    folder = model_folder / "1"
    add_to_package(folder, [int8(quantization)])

    (line,) = [li for li in inspect_path(folder).splitlines() if "percentile on" in li]

    assert line.startswith("model-int8-")
    assert line.endswith(
        "percentile on 64 snippets of 2 video(s); first class as in fp32 on 97.7% of 128 others "
        "(99.0% where clear), 32.5 dB"
    )


def test_errors_are_shown_once_they_were_measured(model_folder):
    folder = model_folder / "1"
    add(folder, Lower(frozenset({Precision.FP16})))
    before = {name: row[5] for name, row in engines_of(folder).items()}

    verify_package(folder)

    after = {name: row[5] for name, row in engines_of(folder).items()}
    assert before == {"fp32": "not verified", "fp16": "not verified"}
    assert float(after["fp32"]) < 2e-4 < float(after["fp16"]) < 1e-2


def test_what_is_added_after_a_verification_is_not_verified(model_folder):
    verify_package(model_folder / "1")

    add(model_folder / "1", Lower(frozenset({Precision.FP16})))

    assert engines_of(model_folder / "1")["fp16"][5] == "not verified"


def test_what_would_command_a_terminal_is_shown_in_quotes(model_folder):
    path = model_folder / "1" / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("class 0", r"\u001b[2Jclass\nbuilt"), encoding="utf-8")

    found = inspect_path(model_folder)

    assert found.replace("\n", "").isprintable()
    assert r"\x1b[2Jclass\nbuilt" in found


def test_a_package_from_before_there_were_precisions_is_shown_as_fp32(model_folder):
    path = model_folder / "1" / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"precision": "PRECISION_FP32",', ""), encoding="utf-8")

    assert list(engines_of(model_folder)) == ["fp32"]


def test_a_models_folder_stands_for_its_newest_version(model_folder):
    (model_folder / "1").rename(model_folder / "9")
    newest = model_folder / "10"
    newest.mkdir()
    manifest = (model_folder / "9" / "manifest.json").read_text(encoding="utf-8")
    (newest / "manifest.json").write_text(manifest.replace('"tiny"', '"newest"'), encoding="utf-8")

    assert "newest, version" in inspect_path(model_folder)


def test_a_manifest_stands_for_its_package(model_folder):
    assert inspect_path(model_folder / "1" / "manifest.json") == inspect_path(model_folder / "1")


def test_a_prototxt_is_described_with_its_weights_or_without(caffe_files):
    prototxt, weights, _ = caffe_files

    report = inspect_path(prototxt)

    rows = rows_of(report)
    assert ["net", "small: 14 layers under TEST rules"] in rows
    assert ["inputs", "data [N, 3, 14, 14]"] in rows
    assert ["outputs", "fc-action"] in rows
    assert ["weights", "441 values"] in rows
    assert ["conv1/3x3_s2", "Convolution", "[N, 8, 7, 7]"] in rows
    assert inspect_path(prototxt, weights) == report


def test_a_net_without_a_name_is_described_too(tmp_path):
    text = net(layer("r", "ReLU", "data", "x")).replace('name: "small"\n', "")

    assert "(no name): 1 layers" in inspect_path(write_prototxt(tmp_path, text))


def test_a_caffemodel_is_described_by_its_blobs(caffe_files):
    _, weights, _ = caffe_files

    rows = rows_of(inspect_path(weights))

    assert ["layers", "7, 7 with weights"] in rows
    assert ["values", "441"] in rows
    assert ["conv1/3x3_s2", "[8, 3, 3, 3] [8]", "224"] in rows
    assert ["conv1/3x3_s2_bn", "[1, 8] [1, 8] [1, 8] [1, 8]", "32"] in rows


def test_columns_stand_below_their_heads(caffe_files):
    lines = inspect_path(caffe_files[0]).splitlines()
    head = next(line for line in lines if line.startswith("layer"))
    row = next(line for line in lines if line.startswith("fc-action"))

    assert row.index("InnerProduct") == head.index("type")
    assert row.index("[N, 5]") == head.index("output")
    assert all(line == line.rstrip() or line.startswith("mean") for line in lines)


def test_weights_that_do_not_fit_the_prototxt_are_refused(tmp_path, caffe_files):
    other = write_prototxt(
        tmp_path,
        net(
            layer("fc-action", "InnerProduct", "data", "x", "inner_product_param { num_output: 9 }")
        ),
        "other.prototxt",
    )

    with pytest.raises(WeightsError, match=r"other\.prototxt, layer 'fc-action'"):
        inspect_path(other, caffe_files[1])


def test_a_folder_that_is_no_package_is_refused_with_what_to_name(tmp_path):
    with pytest.raises(FileUnreadable, match=r"is not a model package.*REPOSITORY/MODEL"):
        inspect_path(tmp_path)


@pytest.mark.parametrize("name", ["missing", "x" * 300, "missing.prototxt"])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, name):
    with pytest.raises(FileUnreadable, match="Check the path"):
        inspect_path(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused(model_folder):
    model_folder.chmod(0)
    try:
        with pytest.raises(FileUnreadable, match="Permission denied"):
            inspect_path(model_folder)
    finally:
        model_folder.chmod(0o700)


def test_a_manifest_of_an_unknown_format_is_refused(model_folder):
    path = model_folder / "1" / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"format_version": 1', '"format_version": 2'), encoding="utf-8")

    with pytest.raises(PackageError, match="has format 2"):
        inspect_path(model_folder)


def test_a_file_of_the_package_that_is_no_caffe_file_is_refused(model_folder):
    with pytest.raises(BuilderError, match=r"model\.onnx"):
        inspect_path(model_folder / "1" / "model.onnx")
