import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import json_format

from tests.builders import max_relative_error, random_bytes, run_onnx, write_tiny_caffe_model
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import FileUnreadable, PackageError, SelectionError
from tsnd_builder.manifest import manifest_json, read_manifest, read_serving_model
from tsnd_builder.package import (
    Package,
    add_to_package,
    check_name,
    extended,
    make_package,
    read_labels,
    write_package,
)
from tsnd_builder.serving_graph import Modality, build_serving_model, find_heads, serving_spec

CHANNELS = {Modality.RGB: 3, Modality.FLOW: 10}


@pytest.fixture
def make(tmp_path):
    """Make a package of the tiny net."""

    def make_tiny_package(modality=Modality.RGB, *, name="tiny", crops=10):
        sources = write_tiny_caffe_model(tmp_path, channels=CHANNELS[modality])
        prototxt, weights, labels = sources
        graph = load_graph(prototxt, weights)
        spec, heads = serving_spec(graph, modality, crops_per_snippet=crops), find_heads(graph)
        return make_package(
            name=name,
            graph=graph,
            spec=spec,
            heads=heads,
            model=build_serving_model(graph, spec, heads),
            labels=read_labels(labels, count=5),
            sources=sources,
        )

    return make_tiny_package


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def small():
    """A package that takes no time to make; nothing in it is looked into."""
    return Package(pb.ModelManifest(name="tiny"), {"a.bin": b"a", "b.bin": b"bb"})


def versions_of(model_folder):
    return sorted(int(path.name) for path in model_folder.iterdir())


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_package_has_its_manifest_graph_and_labels(make, repository):
    folder = write_package(make(), repository)

    assert folder == repository / "tiny" / "1"
    assert sorted(p.name for p in folder.iterdir()) == ["labels.txt", "manifest.json", "model.onnx"]


@pytest.mark.parametrize(
    ("modality", "shape", "mean"),
    [
        (Modality.RGB, [16, 21, 3], [104.0, 117.0, 123.0]),
        (Modality.FLOW, [10, 16, 21], [128.0] * 10),
    ],
)
def test_the_manifest_says_what_to_send(make, repository, modality, shape, mean):
    manifest = read_manifest(write_package(make(modality), repository))

    assert pb.Modality.Name(manifest.modality) == f"MODALITY_{modality.name}"
    assert manifest.input == pb.TensorSpec(
        name="snippets", data_type=pb.DATA_TYPE_UINT8, shape=shape
    )
    assert manifest.preprocessing == pb.Preprocessing(
        frame_height=16,
        frame_width=21,
        crop_size=14,
        crops_per_snippet=10,
        mean=mean,
        stack_depth=5 if modality is Modality.FLOW else 0,
    )


def test_the_manifest_says_what_comes_back(make, repository):
    manifest = read_manifest(write_package(make(), repository))

    float32 = pb.DATA_TYPE_FLOAT32
    assert list(manifest.outputs) == [
        pb.TensorSpec(name="scores", data_type=float32, shape=[5], caffe_blob="fc-action"),
        pb.TensorSpec(name="features", data_type=float32, shape=[10], caffe_blob="global_pool"),
    ]
    assert list(manifest.labels) == [f"class {index}" for index in range(5)]


def test_the_manifest_says_what_it_is_and_who_built_it(make, repository):
    before = datetime.now(UTC).replace(microsecond=0)

    manifest = read_manifest(write_package(make(name="my.model-2"), repository))

    assert (manifest.format_version, manifest.name, manifest.version) == (1, "my.model-2", 1)
    assert manifest.network == "small"
    assert before <= datetime.fromisoformat(manifest.built_at) <= datetime.now(UTC)
    assert set(manifest.tool_versions) == {"python", "tsnd", "onnx", "numpy", "protobuf"}
    assert manifest.tool_versions["tsnd"] == version("tsnd")


def test_hashes_and_sizes_are_those_of_the_files(make, repository):
    folder = write_package(make(), repository)

    artifacts = {artifact.file: artifact for artifact in read_manifest(folder).artifacts}
    assert {file: a.kind for file, a in artifacts.items()} == {
        "model.onnx": pb.ARTIFACT_KIND_SERVING_ONNX,
        "labels.txt": pb.ARTIFACT_KIND_LABELS,
    }
    for file, artifact in artifacts.items():
        data = (folder / file).read_bytes()
        assert artifact.size_bytes == len(data)
        assert artifact.sha256 == hashlib.sha256(data).hexdigest()


def test_the_serving_graph_is_stated_to_be_fp32(make, repository):
    folder = write_package(make(), repository)

    graph, labels = read_manifest(folder).artifacts
    assert graph.precision == pb.PRECISION_FP32
    assert graph.built_at == read_manifest(folder).built_at
    assert not labels.precision


def test_sources_are_named_without_their_folders(make, repository, tmp_path):
    manifest = read_manifest(write_package(make(), repository))

    assert {source.file: source.sha256 for source in manifest.sources} == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("net.prototxt", "weights.caffemodel", "labels.txt")
    }
    assert str(tmp_path) not in str(manifest)


def test_the_manifest_is_json_with_the_names_of_the_contract(make, repository):
    folder = write_package(make(), repository)

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    assert manifest["format_version"] == 1
    assert manifest["preprocessing"]["crops_per_snippet"] == 10
    assert manifest["outputs"][0]["caffe_blob"] == "fc-action"


def test_the_packaged_graph_is_the_serving_graph(make, repository):
    package = make(crops=1)
    folder = write_package(package, repository)
    snippets = random_bytes(1, 2, 16, 21, 3)

    scores = run_onnx(onnx.load(folder / "model.onnx"), {"snippets": snippets})["scores"]

    assert (folder / "model.onnx").read_bytes() == package.files["model.onnx"]
    assert scores.shape == (2, 5)
    assert np.isfinite(scores).all()
    assert max_relative_error(scores[0], scores[1]) > 0


def test_a_second_build_is_version_2_and_leaves_the_first_alone(small, repository):
    first = write_package(small, repository)
    manifest = (first / "manifest.json").read_bytes()

    second = write_package(small, repository)

    assert (first.name, second.name) == ("1", "2")
    assert json.loads((second / "manifest.json").read_bytes())["version"] == 2
    assert (first / "manifest.json").read_bytes() == manifest


def test_the_version_is_one_more_than_the_highest_whatever_else_lies_there(small, repository):
    for name in ("2", "10", "notes", "11.old"):
        (repository / "tiny" / name).mkdir(parents=True)

    assert write_package(small, repository).name == "11"


def test_models_are_numbered_apart(small, repository):
    other = replace(small, manifest=pb.ModelManifest(name="other"))

    assert [write_package(p, repository).parent.name for p in (small, other)] == ["tiny", "other"]
    assert versions_of(repository / "tiny") == versions_of(repository / "other") == [1]


def test_the_package_itself_is_not_changed_by_writing_it(small, repository):
    write_package(small, repository)

    assert small.manifest.version == 0


def test_builders_at_the_same_time_write_one_version_each(small, repository):
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: write_package(small, repository), range(8)))

    assert sorted(int(folder.name) for folder in folders) == list(range(1, 9))
    assert versions_of(repository / "tiny") == list(range(1, 9))
    assert visible(repository) == ["tiny"]


def test_what_killed_builds_left_is_swept(small, repository):
    stale = repository / ".staging-other-7"
    stale.mkdir(parents=True)
    (stale / "model.onnx").write_bytes(b"half")

    folder = write_package(small, repository)

    assert folder.name == "1"
    assert not list(repository.glob(".staging-*"))


def test_a_failure_while_writing_leaves_nothing(small, repository):
    broken = replace(small, files={**small.files, "no/such/folder": b"c"})

    with pytest.raises(PackageError, match=r"cannot write to the repository .*Nothing was changed"):
        write_package(broken, repository)

    assert visible(repository) == []
    assert not list(repository.glob(".staging-*"))


def test_a_file_in_the_place_of_the_model_is_refused_and_kept(small, repository):
    repository.mkdir()
    (repository / "tiny").write_bytes(b"mine")

    with pytest.raises(PackageError, match="cannot write to the repository"):
        write_package(small, repository)

    assert (repository / "tiny").read_bytes() == b"mine"
    assert not list(repository.glob(".staging-*"))


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_repository_that_is_a_file_is_refused(small, repository, below):
    repository.write_bytes(b"")

    with pytest.raises(PackageError, match="cannot write to the repository"):
        write_package(small, repository / below)


KILLED_BUILD = """
import os, signal, sys
from tsnd_builder.__main__ import main

event, name, *argv = sys.argv[1:]

def die(happened, args):
    if happened == event and os.path.basename(str(args[0])).startswith(name):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
main(argv)
"""


@pytest.mark.parametrize(
    ("event", "name"),
    [("open", "labels.txt"), ("open", "manifest.json"), ("os.rename", ".staging-")],
    ids=["between_files", "before_the_manifest", "before_the_rename"],
)
def test_a_killed_build_leaves_no_package_and_does_not_hinder_the_next(
    small, tmp_path, repository, event, name
):
    prototxt, weights, labels = write_tiny_caffe_model(tmp_path)
    labels = labels.rename(tmp_path / "classes.txt")
    options = ["--prototxt", prototxt, "--weights", weights, "--labels", labels]
    options += ["--name", "tiny", "--modality", "rgb", "--repository", repository]
    command = [sys.executable, "-c", KILLED_BUILD, event, name, "build", *map(str, options)]

    killed = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in repository.glob(".staging-*")] == [".staging-tiny-1"]
    assert not list(repository.glob("tiny/*"))
    assert write_package(small, repository) == repository / "tiny" / "1"
    assert not list(repository.glob(".staging-*"))


def half(data=b"half"):
    """Return an FP16 graph to add; nothing in it is looked into."""
    serving, fp16 = pb.ARTIFACT_KIND_SERVING_ONNX, pb.PRECISION_FP16
    return NewArtifact(pb.Artifact(kind=serving, precision=fp16), "model-fp16", ".onnx", data)


def contents(folder):
    """Return what a reader finds in a folder, by file name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def file_of(new):
    return new.entry().file


def test_a_package_that_is_extended_is_written_with_all_its_files(make, repository):
    package = make()
    before = manifest_json(package.manifest)

    folder = write_package(extended(package, [half()]), repository)

    assert (folder / file_of(half())).read_bytes() == b"half"
    assert [a.file for a in read_manifest(folder).artifacts][2:] == [file_of(half())]
    assert manifest_json(package.manifest) == before
    assert set(package.files) == {"model.onnx", "labels.txt"}


def test_files_are_added_to_a_package_and_the_others_stay(make, repository):
    folder = write_package(make(), repository)
    before = contents(folder)
    manifest = read_manifest(folder)

    add_to_package(folder, [half()])

    manifest.artifacts.append(half().entry())
    assert read_manifest(folder) == manifest
    del before["manifest.json"]
    after = contents(folder)
    assert after.pop("manifest.json")
    assert after == {**before, file_of(half()): b"half"}


def test_a_replaced_file_stays_for_those_who_read_the_old_manifest_and_goes_the_next_time(
    make, repository
):
    folder = write_package(make(), repository)
    old, new = half(b"old"), half(b"new")

    for added in (old, new):
        add_to_package(folder, [added])
    assert (folder / file_of(old)).read_bytes() == b"old"
    add_to_package(folder, [new])

    assert [p.name for p in folder.glob("model-fp16*")] == [file_of(new)]
    assert [a.file for a in read_manifest(folder).artifacts].count(file_of(new)) == 1


def test_builders_that_add_at_the_same_time_lose_nothing(make, repository):
    folder = write_package(make(), repository)
    plans = [
        replace(half(b"plan %d" % i), description=pb.Artifact(plan=pb.Plan(gpu=f"gpu {i}")))
        for i in range(6)
    ]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda new: add_to_package(folder, [new]), plans))

    assert {a.file for a in read_manifest(folder).artifacts} >= {file_of(new) for new in plans}


def test_a_failed_add_leaves_what_was_there(make, repository):
    folder = write_package(make(), repository)
    before = contents(folder)
    (folder / file_of(half())).mkdir()

    with pytest.raises(PackageError, match="Is a directory"):
        add_to_package(folder, [half()])

    (folder / file_of(half())).rmdir()
    assert contents(folder) == before


@pytest.mark.parametrize("file", ["../x", "..", "", "/x", "a/../../x", "manifest.json"])
def test_a_manifest_that_names_files_elsewhere_gets_nothing_removed(make, repository, file):
    folder = write_package(make(), repository)
    (folder.parent / "x").write_bytes(b"mine")
    manifest = read_manifest(folder)
    manifest.artifacts.append(half().entry())
    manifest.artifacts[2].file = file
    (folder / "manifest.json").write_bytes(manifest_json(manifest))
    before = contents(folder)

    with pytest.raises(PackageError, match="names the file"):
        add_to_package(folder, [half()])

    assert contents(folder) == before
    assert (folder.parent / "x").read_bytes() == b"mine"


def test_adding_to_what_is_no_package_is_refused(tmp_path):
    with pytest.raises(FileUnreadable, match=r"manifest\.json: No such file"):
        add_to_package(tmp_path, [half()])
    with pytest.raises(PackageError, match="cannot write to the package"):
        add_to_package(tmp_path / "none", [half()])


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("open", ".model-fp16"),
        ("os.rename", ".model-fp16"),
        ("open", ".manifest.json"),
        ("os.rename", ".manifest.json"),
        ("os.remove", "model-fp16"),
    ],
    ids=["file", "rename_of_the_file", "manifest", "rename_of_the_manifest", "sweeping"],
)
def test_an_add_that_is_killed_before_the_end_leaves_the_old_package(make, repository, event, name):
    folder = write_package(make(), repository)
    for data in (b"older, to be swept", b"old"):
        add_to_package(folder, [half(data)])
    before = contents(folder)
    command = [sys.executable, "-c", KILLED_BUILD, event, name, "add", str(folder)]

    killed = subprocess.run(
        [*command, "--precision", "fp16"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    after = contents(folder)
    assert after["manifest.json"] == before["manifest.json"]
    for artifact in read_manifest(folder).artifacts:
        assert hashlib.sha256(after[artifact.file]).hexdigest() == artifact.sha256
    assert before.keys() - after.keys() <= {file_of(half(b"older, to be swept"))}
    add_to_package(folder, [half(b"next")])
    assert (folder / file_of(half(b"next"))).read_bytes() == b"next"


def test_a_package_from_before_there_were_precisions_is_fp32(make, repository):
    folder = write_package(make(), repository)
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    old = text.replace('      "precision": "PRECISION_FP32",\n', "")
    assert old != text
    (folder / "manifest.json").write_text(old, encoding="utf-8")

    add_to_package(folder, [half()])

    assert read_serving_model(folder)[0] == (folder / "model.onnx").read_bytes()
    assert [a.precision for a in read_manifest(folder).artifacts] == [0, 0, pb.PRECISION_FP16]


@pytest.mark.parametrize(
    "name", ["a", "TSN", "bn_inception.rgb-2", "0", "x" * 128, "kinetics..rgb", "a-"]
)
def test_a_name_of_plain_characters_is_taken(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "_x",
        "a/b",
        "../up",
        "a b",
        "a\n",
        "x" * 129,
        "caf\u00e9",
        "a\0",
    ],
)
def test_a_name_that_is_no_safe_folder_name_is_refused(name):
    with pytest.raises(SelectionError, match="is not a model name: use letters, digits"):
        check_name(name)


@pytest.mark.parametrize(
    "content",
    [
        b"kick\npunch\n",
        b"kick\npunch",
        b"kick\r\npunch\r\n",
        b"kick\npunch\n\n\n",
        b" kick \n\tpunch",
        b"\xef\xbb\xbfkick\npunch\n",
    ],
)
def test_labels_are_one_per_line(tmp_path, content):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)

    assert read_labels(path, count=2) == ("kick", "punch")


def test_labels_may_hold_spaces_and_any_script(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("playing \u53e4\u7434\ncaf\u00e9 au lait\n", encoding="utf-8")

    assert read_labels(path, count=2) == ("playing \u53e4\u7434", "caf\u00e9 au lait")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"kick\n", r"labels\.txt names 1 classes, the network scores 2"),
        (b"a\nb\nc\n", r"names 3 classes, the network scores 2.*one name per line"),
        (b"\n", r"names 0 classes"),
        (b"kick\n\npunch\n", r"labels\.txt, line 2: a class name is empty"),
        (b"\nkick\n", r"line 1: a class name is empty"),
        (b"kick\n\xff\xfe\n", r"is not UTF-8 text \(byte 5\)"),
    ],
)
def test_labels_that_do_not_fit_the_network_are_refused(tmp_path, content, reason):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)

    with pytest.raises(SelectionError, match=reason):
        read_labels(path, count=2)


def test_an_empty_list_of_labels_is_refused_as_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.touch()

    with pytest.raises(FileUnreadable, match="is empty"):
        read_labels(path, count=2)


def test_a_manifest_is_read_as_it_was_written(make, tmp_path):
    manifest = make().manifest
    (tmp_path / "manifest.json").write_bytes(manifest_json(manifest))

    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("{", "is not a manifest of this version"),
        ("5", "is not a manifest of this version"),
        ('{"colour": "red"}', "is not a manifest.*no field named"),
        ('{"version": -1}', "is not a manifest.*out of range"),
        ("\udcff", "is not a manifest of this version"),
        ("{}", "has format 0"),
        ('{"format_version": 2, "modality": "MODALITY_RGB"}', "has format 2.*knows format 1"),
        ('{"format_version": 1, "modality": 77}', "modality 77.*Build the package anew"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises((PackageError, FileUnreadable), match=rf"manifest\.json .*{reason}") as info:
        read_manifest(tmp_path)

    assert "\n" not in str(info.value)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(FileUnreadable, match=r"manifest\.json: No such file"):
        read_manifest(tmp_path)


def test_manifest_and_contract_agree_on_json(make):
    text = manifest_json(make().manifest).decode()

    assert json_format.Parse(text, pb.ModelManifest()).name == "tiny"
    assert Path(__file__).name not in text
