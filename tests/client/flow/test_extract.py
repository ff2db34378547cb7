import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.flow.videos import write_moving
from tests.client.sources.videos import write_video
from tsnd_client.cli import main
from tsnd_client.errors import InputError, OutputError
from tsnd_client.flow.algorithms import Algorithm
from tsnd_client.flow.extract import extract_flow, folders_for
from tsnd_client.flow.open import open_flow
from tsnd_client.flow.workers import FlowPool
from tsnd_client.images import encode_jpeg
from tsnd_client.sources.folder import FlowFolder, FrameFolder
from tsnd_client.sources.video_file import VideoFile


@pytest.fixture(scope="module")
def pool():
    with FlowPool(Algorithm.DIS, workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving(tmp_path_factory.mktemp("flow") / "moving.mp4", frames=10)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_image_j_is_video_frame_j_and_flow_j_leads_to_it(video, pool, tmp_path):
    done = extract_flow(video, tmp_path / "a", pool, size=None)

    assert (done.fields, done.computed, done.broken) == (9, 9, 0)
    written = contents(done.folder)
    assert len(written) == 3 * 9 + 1
    frames = {frame.index: frame for frame in VideoFile(video).frames()}
    with open_flow(video, pool, size=None) as flow:
        for field in flow.fields_at(flow.indices):
            x, y = field.planes
            assert written[f"flow_x_{field.index:05d}.jpg"] == encode_jpeg(x)
            assert written[f"flow_y_{field.index:05d}.jpg"] == encode_jpeg(y)
            bgr = frames[field.index].bgr
            assert written[f"img_{field.index:05d}.jpg"] == encode_jpeg(bgr)


def test_images_have_the_size_that_is_asked_for(video, pool, tmp_path):
    done = extract_flow(video, tmp_path / "a", pool, size=(40, 32))

    (field,) = FlowFolder(done.folder).fields_at([1])
    (frame,) = FrameFolder(done.folder).frames_at([1])
    assert (field.planes.shape, frame.bgr.shape) == ((2, 32, 40), (32, 40, 3))


def test_only_what_is_missing_is_computed_and_the_result_is_the_same(video, pool, tmp_path):
    folder = tmp_path / "a"
    extract_flow(video, folder, pool, size=None)
    whole = contents(folder)
    for name in ("img_00003.jpg", "flow_x_00007.jpg", "flow_y_00007.jpg", "flow_y_00009.jpg"):
        (folder / name).unlink()
    steps: list[int] = []

    done = extract_flow(video, folder, pool, size=None, advance=steps.append)

    assert done.computed == 3
    assert steps == [6, 1, 1, 1]
    assert contents(folder) == whole


def test_a_folder_that_is_complete_is_known_to_be_without_reading_the_video(pool, tmp_path):
    video = write_moving(tmp_path / "v.mp4", frames=4)
    extract_flow(video, tmp_path / "a", pool, size=None)
    video.write_bytes(bytes(video.stat().st_size))  # as long, and unreadable

    assert extract_flow(video, tmp_path / "a", pool, size=None).computed == 0


def test_a_folder_of_another_size_is_refused(video, pool, tmp_path):
    extract_flow(video, tmp_path / "a", pool, size=None)

    with pytest.raises(OutputError, match="begun with width 0, not 40"):
        extract_flow(video, tmp_path / "a", pool, size=(40, 32))


def test_two_videos_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"a/v\.mp4 and b/v\.avi would both go to out/v"):
        folders_for([Path("a/v.mp4"), Path("b/v.avi")], Path("out"))


def test_the_command_writes_a_folder_per_video_and_says_so(video, tmp_path, capsys):
    other = write_moving(tmp_path / "other.mp4", frames=3)
    arguments = ["flow", str(video), str(other), "--out", str(tmp_path / "out")]
    options = ["--algorithm", "dis", "--workers", "1", "--size", "0x0"]

    assert main([*arguments, *options, "--json"]) == 0

    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [(record["fields"], record["computed"]) for record in records] == [(9, 9), (2, 2)]
    assert FlowFolder(records[1]["folder"]).indices == range(1, 3)
    assert "trained on tvl1 flow" in err
    assert main([*arguments, *options]) == 0
    assert "other: 2 fields, 0 computed" in capsys.readouterr().out


def test_tv_l1_is_what_the_command_computes_unless_told_otherwise(tmp_path, capsys):
    video = write_moving(tmp_path / "v.mp4", frames=2, size=(48, 32))

    assert main(["flow", str(video), "--out", str(tmp_path), "--workers", "1"]) == 0

    recipe = json.loads((tmp_path / "v" / "flow.json").read_text())
    assert (recipe["algorithm"], recipe["width"], recipe["height"]) == ("tvl1", 340, 256)
    assert recipe["bound"] == 20
    assert capsys.readouterr().err == ""


def test_a_video_that_fails_among_several_does_not_stop_the_others(video, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    names = [str(tmp_path / "bad.mp4"), str(video)]

    status = main(
        ["flow", *names, "--out", str(tmp_path), "--algorithm", "dis", "--workers", "1", "--json"]
    )

    out, err = capsys.readouterr()
    bad, good = (json.loads(line) for line in out.splitlines())
    assert status == 1
    assert "bad.mp4 is not a video" in bad["error"]
    assert good["computed"] == 9
    assert "1 of 2 videos failed" in err


def test_the_only_video_s_failure_is_that_of_the_command(tmp_path, capsys):
    video = write_video(tmp_path / "one.mp4", frames=1)

    assert main(["flow", str(video), "--out", str(tmp_path), "--algorithm", "dis"]) == 2
    assert "has 1 frame, flow needs at least 2" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("size", ["340", "0x256", "ax3", "-1x4"])
def test_a_size_that_is_none_is_refused(size, capsys):
    assert main(["flow", "v.mp4", "--out", "out", "--size", size]) == 2
    assert "WIDTHxHEIGHT" in capsys.readouterr().err


def start_flow(video, out):
    program = Path(sys.executable).with_name("tsn")
    command = [program, "flow", video, "--out", out, "--workers", "1", "--size", "40x32"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_image(folder, process):
    while not (folder / "img_00002.jpg").exists():
        assert process.poll() is None, process.stderr.read()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_is_gone_on_with_to_the_same_end(tmp_path, number, status):
    video = write_moving(tmp_path / "long.mp4", frames=12)
    process = start_flow(video, tmp_path / "out")
    folder = tmp_path / "out" / "long"
    wait_for_image(folder, process)

    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)

    assert process.returncode == status
    assert "Traceback" not in err
    assert main(["flow", str(video), "--out", str(tmp_path / "out"), "--size", "40x32"]) == 0
    assert main(["flow", str(video), "--out", str(tmp_path / "clean"), "--size", "40x32"]) == 0
    assert contents(folder) == contents(tmp_path / "clean" / "long")
