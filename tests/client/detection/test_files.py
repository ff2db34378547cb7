import csv
import json

import pytest

from tsnd_client.detection import Detection, RegressionStatistics
from tsnd_client.detection.files import check_destination, write_detections
from tsnd_client.detection.inputs import read_labels, read_statistics
from tsnd_client.errors import DetectionError, OutputError

FOUND = {
    "first, é": [
        Detection("first, é", 0.1, 2.0, 'a "run"', 0.123456789012345),
        Detection("first, é", 5.0, 6.5, "jump", -1.0),
    ],
    "second": [],
}


def test_json_has_the_form_of_a_submission_to_activitynet(tmp_path):
    write_detections(tmp_path / "found.json", FOUND)

    written = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert written["version"] == "VERSION 1.3"
    assert written["results"] == {
        "first, é": [
            {"label": 'a "run"', "score": 0.123456789012345, "segment": [0.1, 2.0]},
            {"label": "jump", "score": -1.0, "segment": [5.0, 6.5]},
        ],
        "second": [],
    }


def test_csv_has_a_row_for_each_detection_and_loses_no_digit(tmp_path):
    write_detections(tmp_path / "found.csv", FOUND)

    with (tmp_path / "found.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["video_id", "start_s", "end_s", "label", "score"],
        ["first, é", "0.1", "2.0", 'a "run"', "0.123456789012345"],
        ["first, é", "5.0", "6.5", "jump", "-1.0"],
    ]


@pytest.mark.parametrize("name", ["found.txt", "found", "missing/found.json", "folder.json"])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path, name):
    (tmp_path / "folder.json").mkdir()

    with pytest.raises(OutputError, match="cannot write"):
        check_destination(tmp_path / name)
    with pytest.raises(OutputError, match="cannot write"):
        write_detections(tmp_path / name, FOUND)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]


def test_labels_are_one_a_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("run\n\n high jump \n", "utf-8")

    assert read_labels(path, 2) == ("run", "high jump")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run\n", "names 1 classes, 1 of them different: expected 2"),
        (b"run\nrun\n", "names 2 classes, 1 of them different"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)

    with pytest.raises(DetectionError, match=message):
        read_labels(path, 2)


def test_statistics_are_those_of_the_checkpoints(tmp_path):
    path = tmp_path / "statistics.json"
    path.write_text('{"flow": [[1, 2], [3, 4]]}')

    assert read_statistics(path) == {"flow": RegressionStatistics(1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", 'an object with "rgb"'),
        ('{"audio": [[1, 2], [3, 4]]}', 'an object with "rgb"'),
        ('{"rgb": [1, 2]}', r"expected an array \[2, 2\]"),
        ('{"rgb": [["a", 2], [3, 4]]}', "expected numbers"),
        ('{"rgb": [[NaN, 2], [3, 4]]}', r"the number at \(0, 0\) is nan"),
    ],
)
def test_statistics_of_another_form_are_refused(tmp_path, content, message):
    path = tmp_path / "statistics.json"
    path.write_text(content)

    with pytest.raises(DetectionError, match=message):
        read_statistics(path)
