import os
import pty
import signal
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    delicate_blobs,
    max_relative_error,
    random_bytes,
    random_floats,
    run_onnx,
    tiny_blobs,
    tiny_net,
    write_prototxt,
    write_tiny_caffe_model,
    write_weights,
)
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.__main__ import main
from tsnd_builder.errors import BuilderError, OutOfTolerance
from tsnd_builder.manifest import read_manifest
from tsnd_builder.plans.build import availability
from tsnd_builder.plans.gpu import find_gpu
from tsnd_builder.plans.options import Backend

IMAGE = 60 * random_floats(1, 2, 3, 14, 14)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a folder with the tiny model: net.prototxt, weights.caffemodel, labels.txt."""
    write_tiny_caffe_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Run a command line; returns its exit status, standard output and standard error."""

    def run_command(line):
        status: int | str | None
        try:
            status = main(line.split())
        except SystemExit as stop:  # how argparse ends
            status = stop.code
        return status, *capsys.readouterr()

    return run_command


FILES = "--prototxt net.prototxt --weights weights.caffemodel"
CONVERT = f"convert {FILES} --output net.onnx"
BUILD = f"build {FILES} --labels labels.txt --name tiny --modality rgb --repository models"


def test_convert_writes_the_network_and_says_so(run, folder):
    status, out, err = run(CONVERT)

    assert (status, err) == (0, "")
    assert out == "net.onnx: 12 nodes, outputs fc-action\n"
    onnx.checker.check_model(onnx.load(folder / "net.onnx"), full_check=True)


def test_convert_returns_the_blobs_asked_for(run, folder):
    status, out, _ = run(f"{CONVERT} --outputs fc-action,global_pool,")

    results = run_onnx(onnx.load(folder / "net.onnx"), {"data": IMAGE})
    assert status == 0
    assert out.endswith("outputs fc-action, global_pool\n")
    assert list(results) == ["fc-action", "global_pool"]


def test_convert_keeps_bn_on_request_with_the_same_result(run, folder):
    run(CONVERT)
    run(f"{CONVERT.replace('net.onnx', 'kept.onnx')} --keep-bn")

    folded, kept = (onnx.load(folder / name) for name in ("net.onnx", "kept.onnx"))
    error = max_relative_error(*(run_onnx(m, {"data": IMAGE})["fc-action"] for m in (folded, kept)))
    assert [node.op_type for node in kept.graph.node].count("BatchNormalization") == 3
    assert error < FLOAT32_TOLERANCE


def test_convert_reads_inverse_deviations_on_request(run, folder):
    run(CONVERT)
    expected = run_onnx(onnx.load(folder / "net.onnx"), {"data": IMAGE})["fc-action"]
    blobs = tiny_blobs()
    for name in blobs:
        if name.endswith("_bn"):
            blobs[name][3] = (blobs[name][3] + 1e-5) ** -0.5
    write_weights(folder, blobs)

    status, _, _ = run(f"{CONVERT} --bn-storage inverse-std")

    actual = run_onnx(onnx.load(folder / "net.onnx"), {"data": IMAGE})["fc-action"]
    assert status == 0
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_convert_replaces_a_file_in_one_step(run, folder):
    (folder / "net.onnx").write_bytes(b"old")
    (folder / "opened").hardlink_to(folder / "net.onnx")  # what a reader of it still sees

    assert run(CONVERT)[0] == 0
    assert (folder / "net.onnx").stat().st_size > 100
    assert (folder / "opened").read_bytes() == b"old"
    assert not list(folder.glob(".net.onnx.*"))


def test_build_writes_a_package_and_says_so(run, folder):
    status, out, err = run(f"{BUILD} --crops 10")

    assert (status, err) == (0, "")
    assert out == "models/tiny/1: rgb, 10 crop(s) of 14 from 16 x 21, 5 classes\n"
    assert (folder / "models" / "tiny" / "1" / "manifest.json").exists()


def test_build_takes_one_crop_and_other_frames(run):
    _, out, _ = run(f"{BUILD} --frame-size 20x30")

    assert out == "models/tiny/1: rgb, 1 crop(s) of 14 from 20 x 30, 5 classes\n"


def test_build_again_makes_version_2(run):
    run(BUILD)

    assert run(BUILD)[1].startswith("models/tiny/2: ")


def test_build_of_flow_takes_ten_channels(run, folder):
    write_tiny_caffe_model(folder, channels=10)

    status, out, _ = run(BUILD.replace("rgb", "flow"))

    assert (status, out) == (0, "models/tiny/1: flow, 1 crop(s) of 14 from 16 x 21, 5 classes\n")


PACKAGE = "models/tiny/1"
INT8 = "--calibration videos --precision int8"


@pytest.fixture
def videos(folder):
    """Write eight videos of one image each, dark and bright in turn by pairs."""
    for index, level in enumerate([20, 20, 200, 200] * 2):
        image = folder / "videos" / str(index) / "img_00001.png"
        image.parent.mkdir(parents=True)
        pixels = np.uint8(level) + random_bytes(index, 16, 21, 3) // 12
        assert cv2.imwrite(str(image), pixels)


def graphs_of(package):
    """Return kind and precision of the graphs that a manifest lists."""
    artifacts = read_manifest(package).artifacts
    return [
        (
            pb.ArtifactKind.Name(a.kind).removeprefix("ARTIFACT_KIND_"),
            pb.Precision.Name(a.precision).removeprefix("PRECISION_"),
        )
        for a in artifacts
        if a.precision
    ]


def contents(package):
    """Return what a reader finds in a package, by file name."""
    return {p.name: p.read_bytes() for p in package.iterdir() if not p.name.startswith(".")}


FP32, FP16 = ("SERVING_ONNX", "FP32"), ("SERVING_ONNX", "FP16")
BOTH_INT8 = [("SERVING_ONNX", "INT8"), ("TENSORRT_ONNX", "INT8")]


@pytest.mark.parametrize(
    ("precisions", "graphs"),
    [
        ("", [FP32]),
        ("--precision fp32", [FP32]),
        ("--precision fp16", [FP32, FP16]),
        ("--precision fp16,fp32", [FP32, FP16]),
        (f"{INT8} --int8-max-drop 1", [FP32, *BOTH_INT8]),
        (f"{INT8},fp16 --int8-max-drop 1", [FP32, FP16, *BOTH_INT8]),
    ],
)
def test_build_makes_the_precisions_asked_for(run, folder, videos, precisions, graphs):
    status, out, _ = run(f"{BUILD} {precisions}")

    assert (status, out.count("\n")) == (0, 1)
    assert graphs_of(folder / PACKAGE) == graphs


@pytest.mark.parametrize(
    ("precisions", "graphs"),
    [
        ("--precision fp16", [FP16]),
        (f"{INT8} --int8-max-drop 1", BOTH_INT8),
        (f"{INT8},fp16 --int8-max-drop 1", [FP16, *BOTH_INT8]),
    ],
)
def test_add_makes_the_same_files_as_build(run, folder, videos, precisions, graphs):
    run(f"{BUILD} {precisions}")
    run(BUILD)

    status, out, _ = run(f"add models/tiny/2 {precisions}")

    assert status == 0
    built, added = (contents(folder / "models/tiny" / version) for version in "12")
    assert {n: d for n, d in built.items() if n.endswith(".onnx")} == {
        n: d for n, d in added.items() if n.endswith(".onnx")
    }
    assert graphs_of(folder / "models/tiny/2") == [FP32, *graphs]
    assert [line.startswith("models/tiny/2/model-") for line in out.splitlines()] == [
        True for _ in graphs
    ]


def test_what_int8_lost_is_told_and_recorded(run, folder, videos):
    run(BUILD)

    options = "--int8-calibrator minmax --int8-float-layers 1 --int8-reduce-range"
    _, _, err = run(f"add {PACKAGE} {INT8} --calibration-snippets 3 {options} --int8-max-drop 1")

    assert "INT8 for cpu, against FP32 on 3 other snippets:" in err
    for artifact in read_manifest(folder / PACKAGE).artifacts:
        if artifact.precision == pb.PRECISION_INT8:
            q = artifact.quantization
            assert (q.calibrator, q.calibration_snippets, q.float_layers) == ("minmax", 3, 1)
            for_cpu = artifact.kind == pb.ARTIFACT_KIND_SERVING_ONNX
            assert (q.reduce_range, q.max_drop) == (for_cpu, 1.0)
            assert set(q.videos) < set("01234567")
            assert len(q.videos) == 6
            assert q.accuracy.snippets == 3
            assert q.accuracy.snr_db > 0


@pytest.fixture
def delicate(folder):
    """Give the tiny model weights that INT8 ruins."""
    write_weights(folder, delicate_blobs())


def test_int8_that_loses_too_much_builds_no_package(run, folder, videos, delicate):
    status, out, err = run(f"{BUILD} {INT8},fp16 --int8-max-drop 0.2")

    assert (status, out) == (OutOfTolerance.exit_status, "")
    assert "changes the first class of 50.0%" in err
    assert not (folder / "models").exists()


def test_int8_that_loses_too_much_leaves_a_package_as_it_was(run, folder, videos, delicate):
    run(f"{BUILD} --precision fp16")
    before = contents(folder / PACKAGE)

    status, out, err = run(f"add {PACKAGE} {INT8},fp16 --int8-max-drop 0.2")

    assert (status, out) == (OutOfTolerance.exit_status, "")
    assert "nothing was written" in err
    assert contents(folder / PACKAGE) == before


def test_fp16_lists_the_nodes_that_stay_fp32_with_reasons(run, folder, delicate):
    run(f"{BUILD} --precision fp16")

    (half,) = [a for a in read_manifest(folder / PACKAGE).artifacts if a.float_nodes]
    reasons = {node.name: node.reason for node in half.float_nodes}
    assert half.precision == pb.PRECISION_FP16
    assert reasons["network/conv1/3x3_s2"] == "values outside the range of FP16"
    assert reasons["scores/crop_fusion"] == "fuses crops behind the network"


def test_a_package_that_was_added_to_passes_its_verification(run, folder, videos):
    run(BUILD)
    run(f"add {PACKAGE} {INT8},fp16 --int8-max-drop 1")

    status, out, _ = run(f"verify {PACKAGE}")

    assert status == 0
    assert out.count("against FP32") == 3


@pytest.mark.usefixtures("videos")
@pytest.mark.parametrize("line", [BUILD, f"add {PACKAGE}"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--precision int8", r"INT8 needs --calibration VIDEO_OR_FOLDER"),
        ("--precision fp16,int8", r"INT8 needs --calibration VIDEO_OR_FOLDER"),
        (f"{INT8} --int8-float-layers 3", r"has 3 convolutions.*leaves none to quantize"),
        ("--precision int8 --calibration none", r"none"),
        ("--precision int8 --calibration videos/0", r"give 1 snippet\(s\).*more or longer videos"),
    ],
)
def test_lower_precisions_that_cannot_be_made_change_nothing(run, folder, line, options, reason):
    run(BUILD)
    before = contents(folder / PACKAGE)

    status, out, err = run(f"{line} {options}")

    assert (status, out) == (BuilderError.exit_status, "")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(err)
    assert contents(folder / PACKAGE) == before
    assert [path.name for path in (folder / "models/tiny").iterdir()] == ["1"]


def test_add_refuses_a_package_whose_graph_is_another(run, folder):
    run(BUILD)
    onnx_file = folder / PACKAGE / "model.onnx"
    onnx_file.write_bytes(onnx_file.read_bytes()[:-1])

    assert_refused(
        run(f"add {PACKAGE} --precision fp16"), r"model\.onnx is not the file that was built"
    )


def test_synth_writes_a_model_that_converts(run, folder):
    status, out, err = run("synth bn_inception --modality flow --classes 3 --seed 4 --out made")

    assert (status, err) == (0, "")
    assert out.startswith("made: deploy.prototxt, weights.caffemodel, labels.txt")
    assert "seed 4" in out
    made = "--prototxt made/deploy.prototxt --weights made/weights.caffemodel"
    assert run(f"convert {made} --output x.onnx")[0] == 0
    assert (folder / "x.onnx").exists()


@pytest.mark.parametrize(
    ("path", "first_line"),
    [
        ("models/tiny", "model     tiny, version 1 (small)"),
        ("models/tiny/1", "model     tiny, version 1 (small)"),
        ("net.prototxt", "net      small: 14 layers under TEST rules"),
        ("net.prototxt --weights weights.caffemodel", "net      small: 14 layers under TEST rules"),
        ("weights.caffemodel", "weights  weights.caffemodel"),
    ],
)
def test_inspect_describes_packages_and_caffe_files(run, path, first_line):
    run(BUILD)

    status, out, err = run(f"inspect {path}")

    assert (status, err) == (0, "")
    assert out.splitlines()[0] == first_line


def test_version_and_help_are_there(run):
    assert run("--version")[0] == 0
    status, out, _ = run("--help")
    assert status == 0
    assert all(command in out for command in ("convert", "build", "add", "synth", "inspect"))


def spoil(folder):
    """Put one bad file of each kind beside the good ones."""
    good = (folder / "weights.caffemodel").read_bytes()
    (folder / "cut.caffemodel").write_bytes(good[: len(good) // 2])
    (folder / "empty.caffemodel").touch()
    (folder / "h5.caffemodel").write_bytes(b"\x89HDF\r\n\x1a\n")
    write_weights(folder, {"fc-action": [[1.0]]}, "foreign.caffemodel")
    write_weights(folder, tiny_blobs(classes=6), "six.caffemodel")
    nan = tiny_blobs()
    nan["fc-action"][1] *= float("nan")
    write_weights(folder, nan, "nan.caffemodel")
    text = tiny_net()
    write_prototxt(folder, text.replace("kernel_size", "kernal_size", 1), "typo.prototxt")
    write_prototxt(folder, text.replace("Softmax", "LSTM").replace("ReLU", "LSTM"), "lstm.prototxt")
    write_prototxt(folder, text[:-4], "cut.prototxt")
    write_prototxt(folder, text.replace("input:", "#"), "no_input.prototxt")
    write_prototxt(folder, text.replace("stride: 2 }", "stride: 9 }"), "gap.prototxt")
    write_prototxt(folder, "layers { name: 'a' } layers { layer { } }", "old.prototxt")
    (folder / "few.txt").write_text("a\nb\n", encoding="utf-8")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n" * 5)


def with_files(prototxt="net.prototxt", weights="weights.caffemodel"):
    return f"--prototxt {prototxt} --weights {weights}"


BAD_FILES = [
    (with_files("none.prototxt"), r"none\.prototxt: No such file.*Check the path"),
    (with_files("."), r"\. is a folder; name a file in it"),
    (with_files("weights.caffemodel"), r"weights\.caffemodel is a binary file.*--weights"),
    (with_files("cut.prototxt"), r"cut\.prototxt is not a valid prototxt"),
    (with_files("old.prototxt"), r"old\.prototxt mixes layers of the V0 and V1 formats; use one"),
    (with_files("no_input.prototxt"), r"no_input\.prototxt declares no input.*deploy file"),
    (
        with_files("typo.prototxt"),
        r"typo\.prototxt, line 3, layer 'conv1/3x3_s2': .*no field 'kernal_size'.*spelling",
    ),
    (
        with_files("lstm.prototxt"),
        r"lstm\.prototxt, layer 'conv1/3x3_s2_relu' \(LSTM\): .*cannot be converted.*take it out",
    ),
    (with_files("gap.prototxt"), r"gap\.prototxt, layer 'pool1/3x3_s2' \(Pooling\).*Use a stride"),
    (with_files(weights="none.caffemodel"), r"none\.caffemodel: No such file.*Check the path"),
    (with_files(weights="empty.caffemodel"), r"empty\.caffemodel is empty.*download"),
    (with_files(weights="cut.caffemodel"), r"cut\.caffemodel.*truncated"),
    (with_files(weights="h5.caffemodel"), r"h5\.caffemodel is an HDF5 file.*net\.save"),
    (with_files(weights="net.prototxt"), r"net\.prototxt is a text file.*--prototxt"),
    (
        with_files(weights="foreign.caffemodel"),
        r"layer 'conv1/3x3_s2' .*: foreign\.caffemodel has no weights for it.*are these",
    ),
    (
        with_files(weights="six.caffemodel"),
        r"layer 'fc-action' \(InnerProduct\): six\.caffemodel has blobs .*Use the prototxt",
    ),
    (
        with_files(weights="nan.caffemodel"),
        r"layer 'fc-action' .*nan\.caffemodel has a value that is not finite.*damaged",
    ),
    ("--prototxt net.prototxt", r"net\.prototxt, layer 'conv1/3x3_s2' .*give --weights"),
    (f"{FILES} --bn-storage inverse-std --prototxt typo.prototxt", "kernal_size"),
]


def assert_refused(result, reason):
    """Check for status 2, nothing on standard output and one line that matches."""
    status, out, err = result
    assert (status, out) == (BuilderError.exit_status, "")
    assert err.startswith("tsn-build: error: ")
    assert err.count("\n") == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(err)


@pytest.mark.parametrize(("files", "reason"), BAD_FILES)
def test_convert_refuses_bad_files_and_writes_nothing(run, folder, files, reason):
    spoil(folder)
    before = sorted(folder.iterdir())

    assert_refused(run(f"convert {files} --output net.onnx"), reason)

    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("files", "reason"), BAD_FILES)
def test_build_refuses_bad_files_and_writes_nothing(run, folder, files, reason):
    spoil(folder)
    options = "--labels labels.txt --name tiny --modality rgb --repository models"

    assert_refused(run(f"build {files} {options}"), reason)

    assert not (folder / "models").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--labels none.txt", r"none\.txt: No such file"),
        ("--labels few.txt", r"few\.txt names 2 classes, the network scores 5.*one name per line"),
        ("--labels latin.txt", r"latin\.txt is not UTF-8 text"),
        ("--name ../up", r"'\.\./up' is not a model name: use letters"),
        ("--modality flow", r"net\.prototxt takes 3 channels.*--modality flow.*other modality"),
        ("--frame-size 13x20", r"frames of 13 x 20 are smaller than the network's crop of 14"),
        ("--frame-size 99999999999x99", r"frames of 99999999999 x 99 are too large"),
        ("--repository labels.txt", r"cannot write to the repository labels\.txt"),
    ],
)
def test_build_refuses_options_that_do_not_fit_and_writes_nothing(run, folder, options, reason):
    spoil(folder)

    assert_refused(run(f"{BUILD} {options}"), reason)

    assert not (folder / "models").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--outputs fc_action", r"net\.prototxt has no blob 'fc_action'. Did you mean fc-action"),
        ("--outputs data", r"'data' is an input of net\.prototxt"),
        ("--output .", r"cannot write \."),
        ("--output there", r"cannot write there: Is a directory"),
        ("--output none/net.onnx", r"cannot write none/net\.onnx: No such file"),
        ("--output labels.txt/net.onnx", r"cannot write labels\.txt/net\.onnx: Not a directory"),
    ],
)
def test_convert_refuses_outputs_that_there_cannot_be(run, folder, options, reason):
    (folder / "there").mkdir()
    before = sorted(folder.rglob("*"))

    assert_refused(run(f"{CONVERT} {options}"), reason)

    assert sorted(folder.rglob("*")) == before


def test_a_failed_convert_leaves_an_older_file_as_it_was(run, folder):
    (folder / "net.onnx").write_bytes(b"older")

    assert_refused(run(f"{CONVERT} --outputs zzz"), "has no blob 'zzz'")

    assert (folder / "net.onnx").read_bytes() == b"older"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("inspect none", r"none: No such file"),
        ("inspect labels.txt", r"labels\.txt is a text file"),
        ("add none --precision fp16", r"none.manifest\.json: No such file"),
        ("add labels.txt --precision fp16", r"labels\.txt.manifest\.json: Not a directory"),
        ("inspect .", r"is not a model package.*Name REPOSITORY/MODEL"),
        ("inspect net.prototxt --weights six.caffemodel", r"layer 'fc-action'.*six\.caffemodel"),
        ("inspect cut.caffemodel", r"cut\.caffemodel"),
        (f"inspect {'x' * 300}", r"File name too long"),
        (
            "synth bn_inception --modality rgb --classes 2 --out labels.txt",
            r"cannot write to labels",
        ),
    ],
)
def test_other_commands_refuse_bad_input(run, folder, line, reason):
    spoil(folder)

    assert_refused(run(line), reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("serve", "invalid choice: 'serve'"),
        ("convert", "the following arguments are required: --prototxt, --output"),
        (f"{CONVERT} --bn-storage sigma", "argument --bn-storage: invalid"),
        (f"{BUILD} --modality depth", "argument --modality: invalid"),
        (f"{BUILD} --crops 5", "argument --crops: invalid choice"),
        (f"{BUILD} --frame-size 256", "'256' is not HEIGHTxWIDTH, such as 256x340"),
        (f"{BUILD} --frame-size 0x340", "'0x340' is not HEIGHTxWIDTH"),
        (f"{BUILD} --frame-size -1x5", "expected one argument"),
        (f"{BUILD} --precision fp8", "'fp8' is not a list out of fp16,int8"),
        (f"{BUILD} --int8-calibrator mean", "argument --int8-calibrator: invalid"),
        (f"{BUILD} --int8-max-drop 1.5", "'1.5' is not a share from 0 to 1"),
        (f"{BUILD} --int8-max-drop nan", "'nan' is not a share from 0 to 1"),
        (f"{BUILD} --int8-max-drop much", "'much' is not a share from 0 to 1"),
        (f"{BUILD} --int8-float-layers=-1", "'-1' is not a whole number of at least 0"),
        (f"{BUILD} --calibration-snippets 0", "'0' is not a whole number from 1"),
        ("add models/tiny/1", "the following arguments are required: --precision"),
        ("add --precision fp16", "the following arguments are required: package"),
        ("synth resnet --modality rgb --out x", "invalid choice: 'resnet'"),
        ("synth bn_inception --modality rgb --out x --classes 0", "'0' is not a whole number"),
        ("synth bn_inception --modality rgb --out x --classes 99999999999", "from 1 to 100000"),
        ("synth bn_inception --modality rgb --out x --seed=-1", "'-1' is not a whole number"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_with_the_usage(run, folder, line, reason):
    before = sorted(folder.iterdir())

    status, out, err = run(line)

    assert (status, out) == (BuilderError.exit_status, "")
    assert err.startswith("usage: tsn-build")
    assert reason in err.splitlines()[-1]
    assert sorted(folder.iterdir()) == before


PLAN = f"plan {PACKAGE} --backend tensorrt-rtx --precision fp32"
NO_RTX = availability(Backend.TENSORRT_RTX)
NO_TENSORRT = availability(Backend.TENSORRT)
needs_rtx = pytest.mark.skipif(NO_RTX is not None, reason=str(NO_RTX))
refits_nothing = pytest.mark.skipif(
    NO_RTX is not None or find_gpu() is not None, reason="TensorRT-RTX refits here, or is not"
)


def plan_entries(package):
    """Return what the manifest says of each plan."""
    return [a.plan for a in read_manifest(package).artifacts if a.kind == pb.ARTIFACT_KIND_PLAN]


@needs_rtx
@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ("", {"profiles": [pb.Profile(min=1, opt=8, max=8)]}),
        ("--max-batch-size 3", {"profiles": [pb.Profile(min=1, opt=3, max=3)]}),
        (
            "--profile 1,2,4 --profile 8,8,16",
            {"profiles": [pb.Profile(min=1, opt=2, max=4), pb.Profile(min=8, opt=8, max=16)]},
        ),
        ("--workspace 64", {"workspace_bytes": 64 << 20}),
        (
            "--compute-capability 8.6 --compute-capability 12.0",
            {"compute_capability": "8.6,12.0"},
        ),
        ("--tf32", {"tf32": True}),
    ],
    ids=["default", "batch", "profiles", "workspace", "gpus", "tf32"],
)
def test_plan_builds_with_the_options_asked_for(run, folder, options, facts):
    run(BUILD)

    status, out, _ = run(f"{PLAN} {options}")

    (plan,) = plan_entries(folder / PACKAGE)
    assert status == 0
    assert out.startswith(f"{PACKAGE}/tensorrt-rtx-fp32-")
    for name, value in {"workspace_bytes": 0, "tf32": False, **facts}.items():
        assert getattr(plan, name) == value


@needs_rtx
@pytest.mark.parametrize(
    ("precisions", "built"),
    [
        ("", [pb.PRECISION_FP16]),
        ("--precision fp16,fp32", [pb.PRECISION_FP32, pb.PRECISION_FP16]),
        ("--precision int8", [pb.PRECISION_INT8]),
    ],
    ids=["default", "both", "int8"],
)
def test_plan_builds_the_precisions_asked_for(run, folder, videos, precisions, built):
    run(f"{BUILD} {INT8},fp16 --int8-max-drop 1")

    status, out, _ = run(f"plan {PACKAGE} --backend tensorrt-rtx {precisions}")

    entries = read_manifest(folder / PACKAGE).artifacts
    assert (status, out.count("\n")) == (0, len(built))
    assert [a.precision for a in entries if a.kind == pb.ARTIFACT_KIND_PLAN] == built


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--optimization-level 3", "TensorRT-RTX has no optimization level"),
        ("--version-compatible", "TensorRT-RTX has no version compatibility"),
        ("--hardware-compatibility ampere-plus", "TensorRT-RTX has no hardware compatibility"),
        ("--compute-capability sm86", "'sm86' is not a compute capability such as 8.6"),
        ("--backend tensorrt --compute-capability 8.6", "for the GPU of this machine, not for"),
        pytest.param("--precision int8", "Make one: tsn-build add", id="int8"),
        pytest.param(
            "--weight-stripped", "only where there is a GPU", marks=refits_nothing, id="stripped"
        ),
        pytest.param(
            "--refittable", "only where there is a GPU", marks=refits_nothing, id="refittable"
        ),
        pytest.param(
            "--backend tensorrt",
            str(NO_TENSORRT),
            marks=pytest.mark.skipif(NO_TENSORRT is None, reason="TensorRT is here"),
            id="tensorrt",
        ),
    ],
)
def test_plans_that_cannot_be_built_change_nothing(run, folder, options, reason):
    run(BUILD)
    before = contents(folder / PACKAGE)

    status, out, err = run(f"{PLAN} {options}")

    assert (status, out) == (BuilderError.exit_status, "")
    assert err.startswith("tsn-build: error: ")
    assert err.count("\n") == 1
    assert reason in err
    assert contents(folder / PACKAGE) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--precision fp8", "'fp8' is not a list out of fp32,fp16,int8"),
        ("--precision ,", "',' is not a list out of fp32,fp16,int8"),
        ("--backend cuda", "argument --backend: invalid"),
        ("--profile 8,4,1", "8,4,1 is not an optimization profile: the batch sizes are MIN,OPT"),
        ("--profile 8", "'8' is not an optimization profile: give MIN,OPT,MAX"),
        ("--profile 1,1,1 --max-batch-size 4", "not allowed with argument --profile"),
        ("--max-batch-size 0", "'0' is not a whole number from 1"),
        ("--workspace 0", "'0' is not a whole number from 1"),
        ("--optimization-level 6", "argument --optimization-level: invalid"),
        ("--hardware-compatibility all", "argument --hardware-compatibility: invalid"),
    ],
)
def test_plan_refuses_options_that_make_no_sense(run, options, reason):
    status, out, err = run(f"{PLAN} {options}")

    assert (status, out) == (BuilderError.exit_status, "")
    assert reason in err.splitlines()[-1]


@needs_rtx
def test_ctrl_c_ends_a_build_of_plans_and_changes_nothing(run, folder):
    run(BUILD)
    before = sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file())
    terminal, stderr = pty.openpty()
    slow = " ".join(f"--profile 1,{size},32" for size in range(1, 25))
    line = [sys.executable, "-m", "tsnd_builder", *f"{PLAN} {slow}".split()]
    paths = os.pathsep.join(filter(None, sys.path))

    with subprocess.Popen(
        line, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        os.close(stderr)
        drawn = b""
        while b"%" not in drawn:  # the bar: TensorRT is building
            drawn += os.read(terminal, 1024)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    os.close(terminal)

    after = sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file())
    assert (process.returncode, out) == (130, b"")
    assert after == before


def test_add_refuses_to_add_nothing(run, folder):
    run(BUILD)

    status, _, err = run("add models/tiny/1 --precision fp32")

    assert status == 2
    assert "a package always has fp32" in err
