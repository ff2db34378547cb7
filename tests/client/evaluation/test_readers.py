import json
import os

import pytest

from tsnd_client.detection.detection import Detection
from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation import (
    ListedInstance,
    ListedProposal,
    ListedVideo,
    Unit,
    input_files,
    listed_ground_truth,
    read_activitynet,
    read_durations,
    read_ground_truth,
    read_proposal_list,
    read_results,
    read_thumos14,
)

LIST = """\
# 1
/frames/video_test_0000001.mp4
100
1
2
2 10 30
1 90 120
1
2 0.5000 0.7500 12 28
# 2
/frames/video_test_0000002
50
2

0

0
"""
ANNOTATED = {"subset": "validation", "duration": 60.0}


def activitynet(annotations, **video):
    entry = {**ANNOTATED, "annotations": annotations, **video}
    return {"database": {"pool": entry}}


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="file.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_file


@pytest.fixture
def thumos14(tmp_path):
    folder = tmp_path / "temporal_annotations_test"
    folder.mkdir()
    (folder / "GolfSwing_test.txt").write_text(
        "video_test_0000028  20.0 24.0\nvideo_test_0000028  29.4 32.8\n\n"
    )
    (folder / "Diving_test.txt").write_text("video_test_0000002 1.0 2.5\nvideo_test_0000028 5 5\n")
    (folder / "Ambiguous_test.txt").write_text("video_test_0000002 7.0 9.0\n")
    return folder


def test_thumos14_is_read_from_a_file_per_class(thumos14):
    truth = read_thumos14(thumos14)

    assert truth.labels == ("Diving", "GolfSwing")
    assert truth.unit is Unit.SECONDS
    assert [truth.videos[video] for video in truth.video] == [
        "video_test_0000002",
        "video_test_0000028",
        "video_test_0000028",
    ]
    assert truth.spans.tolist() == [[1.0, 2.5], [20.0, 24.0], [29.4, 32.8]]
    assert truth.left_out == {"the label Ambiguous": 1, "no end after the start": 1}


def test_thumos14_leaves_out_what_is_to_be_avoided_and_what_starts_too_late(thumos14):
    (thumos14.parent / "test_avoid_videos.txt").write_text("video_test_0000002 Diving\n")
    (thumos14.parent / "test_durations.txt").write_text("video_test_0000028.mp4\n25.5\n")

    truth = read_ground_truth(thumos14, subset="test")

    assert truth.spans.tolist() == [[20.0, 24.0]]
    assert truth.durations_s == {"video_test_0000028": 25.5}
    assert truth.left_out["a place on the avoid list"] == 1
    assert truth.left_out["a start after the video's end"] == 1


@pytest.mark.parametrize("line", ["video 1.0", "video one two", "video 1.0 nan", "video 1 2 3"])
def test_a_broken_line_of_thumos14_is_named(thumos14, line):
    (thumos14 / "GolfSwing_test.txt").write_text(f"video_test_0000028 20 24\n{line}\n")

    with pytest.raises(EvaluationError, match=r"GolfSwing_test\.txt, line 2: expected"):
        read_thumos14(thumos14)


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match=r"names like GolfSwing_test\.txt"):
        read_thumos14(tmp_path)


def test_durations_stand_on_a_line_or_on_two(write):
    assert read_durations(write("a.mp4\n1.5\nb 2\n", "d.txt")) == {"a": 1.5, "b": 2.0}


def test_durations_that_are_cut_off_are_refused(write):
    with pytest.raises(EvaluationError, match="one is cut off"):
        read_durations(write("a.mp4\n1.5\nb.mp4\n", "d.txt"))


def test_a_proposal_list_is_read(write):
    assert read_proposal_list(write(LIST, "list.txt")) == [
        ListedVideo(
            video_id="video_test_0000001",
            frames=100,
            instances=(ListedInstance(2, 10, 30), ListedInstance(1, 90, 120)),
            proposals=(ListedProposal(2, 0.5, 0.75, 12, 28),),
        ),
        ListedVideo("video_test_0000002", 100, (), ()),
    ]


def test_a_list_gives_fractions_cut_off_at_the_end_of_the_video(write):
    truth = read_ground_truth(write(LIST, "list.txt"), subset="test", labels=["Dive", "Swim"])

    assert truth.videos == ("video_test_0000001",)
    assert [truth.labels[label] for label in truth.label] == ["Swim", "Dive"]
    assert truth.spans.tolist() == [[0.1, 0.3], [0.9, 1.0]]
    assert truth.unit is Unit.FRACTION


def test_a_list_without_class_names_names_them_by_number(write):
    assert read_ground_truth(write(LIST, "list.txt"), subset="test").labels == ("1", "2")


def test_instances_behind_the_end_are_left_out():
    video = ListedVideo("a", 10, (ListedInstance(1, 10, 20), ListedInstance(1, 2, 4)), ())

    truth = listed_ground_truth([video], labels=None, durations_s={}, source="a list")

    assert truth.spans.tolist() == [[0.2, 0.4]]
    assert truth.left_out == {"a start after the video's end": 1}


def test_a_list_of_more_classes_than_names_is_refused(write):
    with pytest.raises(EvaluationError, match=r"classes 1 to 2, and there are 1 class names"):
        read_ground_truth(write(LIST, "list.txt"), subset="test", labels=["Dive"])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("2 10 30", "2 10", r"line 6: expected 'label start end', got '2 10'"),
        ("2 10 30", "two 10 30", r"line 6: label: expected a whole number, got 'two'"),
        ("2 10 30", "2 10 inf", r"line 6: expected a finite number, got 'inf'"),
        ("100\n1\n2\n", "100\n1\n-2\n", r"line 5: number of instances: expected a whole number"),
        ("100\n1\n2\n", "0\n1\n2\n", r"line 4: the video has 0 frames"),
        ("100\n1\n2\n", "1e300\n1e300\n2\n", r"the video has inf frames"),
        ("2 0.5000 0.7500 12 28\n", "", r"the record ends where 'label best_iou"),
        ("12 28\n", "12 28\n2 0.5 0.5 1 2\n", r"line 10: expected the end of the record"),
        ("0\n\n0\n", "", r"the record ends where the number of instances should follow"),
    ],
)
def test_a_broken_list_is_refused_with_its_place(write, old, new, complaint):
    assert old in LIST

    with pytest.raises(EvaluationError, match=complaint):
        read_proposal_list(write(LIST.replace(old, new), "list.txt"))


def test_an_empty_list_is_refused(write):
    with pytest.raises(EvaluationError, match="is empty: expected a proposal list"):
        read_proposal_list(write("", "list.txt"))


def test_a_subset_of_activitynet_is_read_with_the_classes_of_all(write):
    content = activitynet([{"label": "Swim", "segment": [1, 2.5]}])
    content["database"]["lake"] = {
        "subset": "training",
        "duration": 9,
        "annotations": [{"label": "Dive", "segment": [0, 1]}],
    }

    truth = read_ground_truth(write(content), subset="validation")

    assert truth.labels == ("Dive", "Swim")
    assert truth.videos == ("pool",)
    assert truth.spans.tolist() == [[1.0, 2.5]]
    assert truth.durations_s == {"pool": 60.0}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], r"expected an object"),
        ({}, r"'database': expected an object"),
        ({"database": {"a": 1}}, r"video 'a': expected an object"),
        ({"database": {}}, r"no video of subset 'validation'; it has no video at all"),
        (activitynet([], subset="testing"), r"no video of subset 'validation'; it has testing"),
        (activitynet([]), r"has no annotation to evaluate by"),
        (activitynet([{"segment": [1, 2]}]), r"annotation 0, 'label': expected a name"),
        (activitynet([{"label": "x", "segment": [1]}]), r"expected \[start, end\], got \[1\]"),
        (activitynet([{"label": "x", "segment": [1, "b"]}]), r"expected a finite number"),
        (activitynet([{"label": "x", "segment": [2, 1]}]), r"1 with no end after the start"),
        (activitynet([], duration=None), r"'duration': expected a finite number, got None"),
    ],
)
def test_annotations_of_another_shape_are_refused(write, content, complaint):
    with pytest.raises(EvaluationError, match=complaint):
        read_activitynet(write(content), "validation")


def test_results_are_read_in_their_order(write):
    content = {
        "version": "VERSION 1.3",
        "results": {
            "pool": [
                {"label": "Swim", "score": 0.25, "segment": [1, 2]},
                {"label": "Dive", "score": 0.75, "segment": [0, 1]},
            ],
            "lake": [],
        },
    }

    assert read_results(write(content)) == [
        Detection("pool", 1.0, 2.0, "Swim", 0.25),
        Detection("pool", 0.0, 1.0, "Dive", 0.75),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"not valid JSON"),
        ("[" * 200_000, r"not valid JSON"),
        ('{"results": {"a": [{"label": "x", "segment": [0, 1], "score": NaN}]}}', r"got nan"),
        ('{"results": {"a": [{"label": "x", "segment": [0, 1e999], "score": 1}]}}', r"got inf"),
        ('{"results": {"a": [{"label": "x", "segment": [0, 1], "score": true}]}}', r"got True"),
        ('{"results": ' + "9" * 5000 + "}", r"not valid JSON"),
        ({"results": []}, r"'results': expected an object"),
        ({"results": {"a": {}}}, r"video 'a': expected an array"),
        ({"results": {"a": ["x"]}}, r"video 'a', result 0: expected an object"),
        ({"results": {"a": [{"label": 3, "segment": [0, 1], "score": 1}]}}, r"got 3"),
        ({"results": {"a": [{"label": "x", "segment": 7, "score": 1}]}}, r"expected an array"),
        ({"results": {"a" * 1000: 7}}, r"video 'a{56}\.\.\.: expected an array"),
    ],
)
def test_results_of_another_shape_are_refused(write, content, complaint):
    with pytest.raises(EvaluationError, match=complaint):
        read_results(write(content))


def test_a_file_of_other_bytes_is_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(EvaluationError, match="not UTF-8"):
        read_results(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="expected a file, and there is none"):
        read_results(tmp_path / "none.json")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")

    with pytest.raises(EvaluationError, match="expected a file"):
        read_results(tmp_path / "pipe.json")


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "results.json"
    with path.open("wb") as file:
        file.truncate(input_files.MAX_BYTES + 1)

    with pytest.raises(EvaluationError, match=r"512 MiB is the most"):
        read_results(path)
