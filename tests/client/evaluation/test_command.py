"""`tsn evaluate-detection`, from files to tables."""

import json

import pytest

from tsnd_client.cli import main
from tsnd_client.commands.evaluate_detection import Dataset, ResultsUnit, TieBreak
from tsnd_client.evaluation import PROTOCOLS, Ties, Unit


@pytest.fixture
def files(tmp_path):
    """Annotations of two golf swings, of which the results have one and a wrong one."""
    folder = tmp_path / "temporal_annotations_test"
    folder.mkdir()
    (folder / "GolfSwing_test.txt").write_text("golf 20.0 24.0\ngolf 30.0 34.0\n")
    (folder / "Diving_test.txt").write_text("dive 1.0 3.0\n")
    results = {
        "golf": [
            {"label": "GolfSwing", "score": 0.9, "segment": [20.0, 23.0]},
            {"label": "GolfSwing", "score": 0.8, "segment": [60.0, 64.0]},
        ],
        "elsewhere": [{"label": "Diving", "score": 0.9, "segment": [0.0, 1.0]}],
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": results}))
    return folder, path


def run(files, *arguments, dataset="thumos14"):
    truth, results = map(str, files)
    paths = ["--results", results, "--ground-truth", truth]
    return main(["evaluate-detection", "--dataset", dataset, *paths, *arguments])


def test_tables_say_how_good_the_detections_are(files, capsys):
    assert run(files) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "thumos14: 2 detections of 3 instances in 2 videos, percent"
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["mAP"][1:] == ["25.00"] * 7 + ["0.00"] * 2 + ["19.44"]
    assert rows["GolfSwing"] == ["GolfSwing", "2", "2", *["50.00"] * 7, "0.00", "0.00"]
    assert rows["BN-Inception, Kinetics"][-3:] == ["21.31", "27.93", "32.50"]
    assert rows["these detections"][-1] == "25.00"
    assert lines[-1] == "Left out: 1 detections in videos without instances."


def test_json_holds_the_same_numbers(files, capsys):
    assert run(files, "--json") == 0

    record = json.loads(capsys.readouterr().out)
    assert record["mAP"] == [0.25] * 7 + [0] * 2
    assert record["average_mAP"] == pytest.approx(1.75 / 9)
    assert [row["label"] for row in record["classes"]] == ["Diving", "GolfSwing"]
    assert record["classes"][1]["AP"][0] == 0.5
    assert record["detections_left_out"] == {"in_other_videos": 1, "of_other_labels": 0}


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_plot_is_drawn_and_is_the_same_each_time(files, tmp_path, name, magic):
    path = tmp_path / name
    assert run(files, "--plot", str(path)) == 0
    first = path.read_bytes()
    assert run(files, "--plot", str(path)) == 0

    assert first.startswith(magic)
    assert path.read_bytes() == first
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [name, "results.json", "temporal_annotations_test"]
    )


def test_a_plot_of_unknown_format_is_refused_before_any_work(files, tmp_path, capsys):
    assert run((files[0], tmp_path / "none.json"), "--plot", "p.gif") == 2

    assert "ends in .png or .svg" in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_leaves_nothing(files, tmp_path, capsys):
    (tmp_path / "p.png").mkdir()

    assert run(files, "--plot", str(tmp_path / "p.png")) == 2

    assert "cannot write" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))


def test_a_proposal_list_is_judged_in_seconds_or_in_fractions(files, tmp_path, capsys):
    listed = tmp_path / "list.txt"
    listed.write_text("# 1\n/frames/golf\n1000\n1\n2\n10 200 240\n10 300 340\n0\n")
    durations = tmp_path / "durations.txt"
    durations.write_text("golf.mp4 100\n")
    in_fractions = tmp_path / "fractions.json"
    in_fractions.write_text(
        '{"results": {"golf": [{"label": "GolfSwing", "score": 1, "segment": [0.2, 0.23]}]}}'
    )

    assert run((listed, files[1]), "--durations", str(durations), "--json") == 0
    seconds = json.loads(capsys.readouterr().out)
    assert run((listed, in_fractions), "--unit", "fraction", "--json") == 0
    fractions = json.loads(capsys.readouterr().out)
    assert run((listed, files[1])) == 2
    assert "--durations" in capsys.readouterr().err

    assert seconds["mAP"] == fractions["mAP"] == [0.5] * 7 + [0] * 2
    assert len(seconds["classes"]) == 20
    assert seconds["classes"][0]["AP"][0] is None


def test_activitynet_is_judged_on_validation_unless_told_otherwise(files, tmp_path, capsys):
    video = {"duration": 60, "annotations": [{"label": "GolfSwing", "segment": [20, 24]}]}
    truth = tmp_path / "truth.json"
    truth.write_text(
        json.dumps({"database": {"golf": {**video, "subset": "validation"}}}), encoding="utf-8"
    )

    assert run((truth, files[1]), "--json", dataset="activitynet1.3") == 0
    assert json.loads(capsys.readouterr().out)["mAP"] == [1.0] * 5 + [0] * 5
    assert run((truth, files[1]), "--subset", "testing", dataset="activitynet1.3") == 2
    assert "it has validation" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", '{"results": {"golf": [{"label": "Gulf"}]}}'])
def test_results_that_cannot_be_used_end_with_status_2(files, content, capsys):
    files[1].write_text(content)

    assert run(files) == 2

    assert capsys.readouterr().err.startswith("tsn: error: ")


def test_a_label_cannot_move_the_cursor_of_a_terminal(files, capsys):
    (files[0] / "\x1b[2J_test.txt").write_text("golf 1.0 2.0\n")

    assert run(files) == 0

    assert "\x1b" not in capsys.readouterr().out


def test_the_command_offers_every_protocol_unit_and_order_of_ties():
    assert [dataset.value for dataset in Dataset] == list(PROTOCOLS)
    assert [unit.value for unit in ResultsUnit] == [unit.value for unit in Unit]
    assert [ties.value for ties in TieBreak] == [ties.value for ties in Ties]
