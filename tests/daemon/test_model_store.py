import json
import shutil
from pathlib import Path

import pytest

from tsnd_daemon.errors import PackageError
from tsnd_daemon.model_store import find_versions, load_package


@pytest.fixture
def repository(tiny_repository: Path, tmp_path: Path) -> Path:
    """A copy of the tiny repository that a test may damage."""
    return shutil.copytree(tiny_repository, tmp_path / "models")


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_all_versions_of_each_model_are_found_in_order(repository):
    for version in ("10", "9"):
        shutil.copytree(repository / "tiny_rgb" / "1", repository / "tiny_rgb" / version)

    assert find_versions(repository) == {"tiny_flow": [1], "tiny_rgb": [1, 9, 10]}


def test_staging_folders_and_stray_files_are_ignored(repository):
    (repository / ".staging-x").mkdir()
    (repository / "README").write_text("notes")
    (repository / "empty_model").mkdir()
    for stray in ("latest", "007", "\u0661"):
        (repository / "tiny_rgb" / stray).mkdir()

    assert find_versions(repository) == {"empty_model": [], "tiny_flow": [1], "tiny_rgb": [1]}


@pytest.mark.parametrize("make", [Path.touch, lambda path: None])
def test_a_repository_that_is_no_folder_says_how_to_build_one(tmp_path, make):
    make(tmp_path / "models")

    with pytest.raises(PackageError, match="tsn-build build --repository"):
        find_versions(tmp_path / "models")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, "has format version 2, this tsnd reads 1"),
        ({"name": "other"}, "says that it is 'other' version 1"),
        ({"version": 7}, "says that it is 'tiny_rgb' version 7"),
        ({"modality": "MODALITY_UNSPECIFIED"}, "has no known modality"),
        ({"modality": "MODALITY_SMELL"}, "is not a manifest that this tsnd reads"),
        ({"surprise": 1}, "is not a manifest that this tsnd reads"),
        ({"labels": ["one"]}, "has 1 labels and the outputs"),
        ({"outputs": []}, "expected an output 'scores'"),
        ({"input": {"data_type": "DATA_TYPE_UINT8", "shape": [3]}}, "expected uint8 of three"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(repository, changes, reason):
    folder = repository / "tiny_rgb" / "1"
    edit_manifest(folder, **changes)

    with pytest.raises(PackageError) as caught:
        load_package(folder)

    assert reason in str(caught.value)


@pytest.mark.parametrize("file", ["../1/model.onnx", "/etc/hostname", "a/b", "", "\x1b[2Jx"])
def test_an_artifact_cannot_lie_outside_its_package(repository, file):
    folder = repository / "tiny_rgb" / "1"
    artifacts = json.loads((folder / "manifest.json").read_text())["artifacts"]
    edit_manifest(folder, artifacts=[{**artifacts[0], "file": file}])

    with pytest.raises(PackageError, match=r"not inside it|Is a directory"):
        load_package(folder)


def test_a_changed_file_is_noticed(repository):
    folder = repository / "tiny_rgb" / "1"
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"!")

    with pytest.raises(PackageError, match=r"model\.onnx is not the file that was built"):
        load_package(folder)


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "labels.txt"])
def test_a_missing_file_is_named(repository, file):
    folder = repository / "tiny_rgb" / "1"
    (folder / file).unlink()

    with pytest.raises(PackageError, match=rf"{file}: No such file.* incomplete"):
        load_package(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b'{"name": ' * 5000, b"null"])
def test_a_broken_manifest_is_refused(repository, text):
    folder = repository / "tiny_rgb" / "1"
    (folder / "manifest.json").write_bytes(text)

    with pytest.raises(PackageError, match="tiny_rgb"):
        load_package(folder)
