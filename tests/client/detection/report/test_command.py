"""`tsn report-detection`, from a video to a page."""

import json

import cv2
import numpy as np
import pytest

from tests.client.detection.report.builders import DURATION_S, FOUND, write_video
from tsnd_client.cli import main
from tsnd_client.commands.report_detection import PlayerChoice
from tsnd_client.detection.report.build import Player
from tsnd_client.detection.report.stills import read_stills


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.webm")


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.json"
    rows = [
        {"label": found.label, "score": found.score, "segment": [found.start_s, found.end_s]}
        for found in FOUND
    ]
    path.write_text(json.dumps({"results": {"clip": rows}}))
    return path


def run(clip, results, out, *arguments):
    return main(
        ["report-detection", str(clip), "--results", str(results), "--out", str(out), *arguments]
    )


def test_stills_are_the_frames_on_the_screen_at_their_times(clip):
    stills = read_stills(clip, [4.05, -1.0, 99.0, 0.1])

    assert stills.duration_s == pytest.approx(DURATION_S)
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0) for jpeg in stills.jpegs]
    greys = [np.asarray(picture).mean() for picture in pictures]
    assert greys == pytest.approx([120, 0, 237, 3], abs=4)  # frames 40, 0, 79 and 1


def test_the_best_detections_are_on_the_page(clip, results, tmp_path, capsys):
    out = tmp_path / "report.html"

    assert run(clip, results, out, "--top", "2") == 0

    assert capsys.readouterr().out == f"{out}: 2 of 3 detections\n"
    html = out.read_text()
    assert html.count('<li id="d') == 2
    assert 'src="data:video/webm;base64,' in html
    assert html.count("data:image/jpeg;base64,/9j/") == 2


def test_a_linked_video_is_found_from_the_page(clip, results, tmp_path):
    out = tmp_path / "report.html"

    assert run(clip, results, out, "--player", "link") == 0

    path = out.read_text().split('<video id="video"')[1].split('src="./')[1].split('"')[0]
    assert (out.parent / path).resolve() == clip.resolve()


def test_curves_are_drawn(clip, results, tmp_path):
    curves = tmp_path / "curves.json"
    curves.write_text('{"times_s": [0, 1, 2], "curves": {"actionness": [0, 0.5, 1]}}')
    out = tmp_path / "report.html"

    assert run(clip, results, out, "--curves", str(curves), "--player", "none") == 0

    assert 'aria-label="actionness over time"' in out.read_text()
    assert '<video id="video"' not in out.read_text()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"times_s": ["x"], "curves": {"a": [1]}}',
        '{"times_s": [1, 0], "curves": {"a": [1, 1]}}',
        '{"times_s": [0], "curves": [1]}',
    ],
)
def test_curves_of_another_shape_are_refused(clip, results, tmp_path, content, capsys):
    curves = tmp_path / "curves.json"
    curves.write_text(content)

    assert run(clip, results, tmp_path / "r.html", "--curves", str(curves)) == 2

    assert capsys.readouterr().err.startswith("tsn: error: ")
    assert not (tmp_path / "r.html").exists()


def test_results_of_other_videos_are_refused_with_a_remedy(clip, results, tmp_path, capsys):
    assert run(clip, results, tmp_path / "r.html", "--video-id", "other") == 2

    assert "of videos like 'clip'. Name the video with --video-id." in capsys.readouterr().err


def test_a_broken_video_is_refused(results, tmp_path):
    broken = tmp_path / "clip.webm"
    broken.write_bytes(b"no video")

    assert run(broken, results, tmp_path / "r.html") == 2


def test_the_command_offers_every_player():
    assert [choice.value for choice in PlayerChoice] == [player.value for player in Player]
