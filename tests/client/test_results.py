import json
from dataclasses import replace

import numpy as np
import pytest

from tsnd_client.errors import OutputError
from tsnd_client.results import ScoredSnippet, check_destination, write_results

LABELS = ("walk", "run", "jump")
SNIPPETS = [
    ScoredSnippet(
        snippet_id=f"frame/{index}",
        frame_index=index,
        time_s=index / 25,
        scores=np.array([0, index, 1], np.float32),
        features=np.array([index, 0.5], np.float32),
        version=3,
    )
    for index in (0, 5)
]


def test_jsonl_holds_one_object_per_snippet(tmp_path):
    path = tmp_path / "out.jsonl"

    write_results(path, SNIPPETS, LABELS)

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["snippet_id"] for row in rows] == ["frame/0", "frame/5"]
    assert rows[1].keys() == {"snippet_id", "frame_index", "time_s", "top5", "scores"}
    assert (rows[1]["frame_index"], rows[1]["time_s"]) == (5, 0.2)
    assert rows[1]["scores"] == [0, 5, 1]
    assert [best["label"] for best in rows[1]["top5"]] == ["run", "jump", "walk"]
    assert sum(best["probability"] for best in rows[1]["top5"]) == pytest.approx(1)


def test_jsonl_holds_features_when_asked_for(tmp_path):
    path = tmp_path / "out.jsonl"

    write_results(path, SNIPPETS, LABELS, with_features=True)

    assert json.loads(path.read_text().splitlines()[1])["features"] == [5, 0.5]


def test_features_of_two_lengths_are_refused_with_a_way_out_and_leave_no_file(tmp_path):
    longer = replace(SNIPPETS[1], features=np.zeros(3, np.float32))

    with pytest.raises(OutputError, match=r"lengths \[2, 3\].*name a \.jsonl file"):
        write_results(tmp_path / "out.npz", [SNIPPETS[0], longer], LABELS)

    assert list(tmp_path.iterdir()) == []


def test_npz_holds_arrays_that_load_without_pickle(tmp_path):
    path = tmp_path / "out.npz"

    write_results(path, SNIPPETS, LABELS)

    with np.load(path, allow_pickle=False) as arrays:
        shapes = {name: (arrays[name].dtype.kind, arrays[name].shape) for name in arrays}
        assert arrays["labels"].tolist() == list(LABELS)
        assert arrays["frame_index"].tolist() == [0, 5]
        assert arrays["scores"].dtype == arrays["features"].dtype == np.float32
    assert shapes == {
        "frame_index": ("i", (2,)),
        "time_s": ("f", (2,)),
        "scores": ("f", (2, 3)),
        "features": ("f", (2, 2)),
        "labels": ("U", (3,)),
    }


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    with pytest.raises(IndexError):
        write_results(path, SNIPPETS, labels=())

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()

    write_results(tmp_path / "out.npz", SNIPPETS, LABELS)

    assert (tmp_path / "out.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["out.csv", "out", "out.npz.gz"])
def test_other_suffixes_are_refused_before_any_work(tmp_path, name):
    with pytest.raises(OutputError, match=r"\.jsonl or \.npz"):
        check_destination(tmp_path / name)


def test_a_missing_folder_is_refused_before_any_work(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        check_destination(tmp_path / "nowhere" / "out.npz")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="Not a directory"):
        check_destination(tmp_path / "file" / "out.npz")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "out.npz").mkdir()

    with pytest.raises(OutputError, match="it is a folder"):
        check_destination(tmp_path / "out.npz")


def test_checking_a_destination_leaves_nothing_behind(tmp_path):
    check_destination(tmp_path / "out.npz")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_new_files_is_refused(tmp_path):
    with pytest.raises(OutputError, match="Name a folder that takes new files"):
        write_results(tmp_path / "nowhere" / "out.npz", SNIPPETS, LABELS)
