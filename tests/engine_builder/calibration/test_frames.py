import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tsnd_builder.calibration.frames import calibration_frames
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality


@pytest.fixture
def sample():
    """Sample calibration frames: sample(path, snippets=...); rgb of 48 x 64 by default."""

    def run(path, *, modality=Modality.RGB, snippets=100, report=print, **more):
        return calibration_frames(
            path,
            modality=modality,
            frame_height=48,
            frame_width=64,
            stack_depth=0 if modality is Modality.RGB else 5,
            snippets=snippets,
            report=report,
            **more,
        )

    return run


def brightness(result):
    return [round(float(frame.mean())) for frame in result.frames]


def test_a_video_gives_the_25_snippets_of_tsn(make_video, sample):
    path = make_video(40)  # 39 images: a step of 1

    result = sample(path)

    assert result.frames.shape == (25, 48, 64, 3)
    assert result.frames.dtype == np.uint8
    assert brightness(result) == [6 * number for number in range(1, 26)]
    assert result.videos.used == ("video.mkv",)


def test_images_of_dense_flow_give_what_their_video_gives(make_video, make_images, sample):
    video = make_video(40)
    folder = make_images("images", [f"img_{number:05d}.png" for number in range(1, 40)], offset=6)

    assert np.array_equal(sample(folder).frames, sample(video).frames)


def test_a_short_video_gives_its_first_snippet_once(make_video, sample):
    assert brightness(sample(make_video(25))) == [6]


def test_fewer_snippets_are_spread_over_the_time_of_a_video(make_video, sample):
    result = sample(make_video(40), snippets=5)

    assert brightness(result) == [6 * tick for tick in (3, 8, 13, 18, 23)]


def test_the_number_of_snippets_per_video_can_be_chosen(make_video, sample):
    result = sample(make_video(40), snippets_per_video=3)

    assert brightness(result) == [6 * tick for tick in (1, 20, 39)]


def test_flow_of_a_video_file_is_a_stack_of_planes(make_video, sample):
    lines: list[str] = []

    result = sample(make_video(8), modality=Modality.FLOW, report=lines.append)

    assert result.frames.shape == (1, 10, 48, 64)
    assert (result.frames == 128).all()  # nothing moves
    assert lines == [f"computing 5 TV-L1 flow fields of {make_video(8)}"]


def test_flow_of_a_folder_is_read_as_pairs(make_images, sample):
    numbers = range(1, 31)  # 30 fields: a step of 1
    make_images("video", [f"flow_x_{number:05d}.jpg" for number in numbers])
    folder = make_images("video", [f"flow_y_{number:05d}.jpg" for number in numbers], offset=50)

    result = sample(folder, modality=Modality.FLOW)

    assert result.frames.shape == (25, 10, 48, 64)
    x, y = result.frames[3, 0::2, 0, 0].tolist(), result.frames[3, 1::2, 0, 0].tolist()
    assert x == pytest.approx([18, 24, 30, 36, 42], abs=1)
    assert y == pytest.approx([68, 74, 80, 86, 92], abs=1)


@pytest.fixture
def make_three(make_video, make_images, tmp_path):
    """Make a folder of three videos of 25 snippets: brightness is odd, even, odd by video."""

    def make():
        make_video(41, "three/a.mkv", offset=1)
        make_images("three/b", [f"{number:02d}.png" for number in range(40)])
        make_video(41, "three/c.avi", offset=3)
        (tmp_path / "three" / "labels.txt").write_text("a\n")
        return tmp_path / "three"

    return make


def test_videos_of_a_folder_come_one_after_the_other(make_three, sample):
    result = sample(make_three())

    assert len(result.frames) == 75
    assert result.videos.used == ("a.mkv", "b", "c.avi")
    assert (result.videos.skipped, result.videos.left_out, result.videos.ignored) == ((), 0, 1)
    assert brightness(result)[25:50] == [6 * number for number in range(25)]


@pytest.mark.parametrize("snippets", [6, 7, 8, 31, 75])
def test_both_halves_of_the_frames_represent_all_videos(make_three, sample, snippets):
    frames = sample(make_three(), snippets=snippets).frames
    offsets = np.array([int(frame[0, 0, 0]) % 6 for frame in frames])

    assert len(frames) == snippets
    for half in (offsets[0::2], offsets[1::2]):
        shares = [(half == offset).mean() for offset in (1, 0, 3)]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.17)


def test_the_same_videos_give_the_same_frames(make_three, sample):
    folder = make_three()

    assert np.array_equal(sample(folder, snippets=20).frames, sample(folder, snippets=20).frames)


def test_of_more_videos_than_snippets_evenly_many_give_one(make_images, sample, tmp_path):
    for number in range(16):
        make_images(f"many/{number:02d}", ["a.png"], offset=number)

    result = sample(tmp_path / "many", snippets=4)

    assert result.videos.used == ("00", "04", "08", "12")
    assert result.videos.left_out == 12
    assert brightness(result) == [0, 4, 8, 12]


def test_broken_videos_among_many_are_skipped_and_reported(make_three, sample):
    folder = make_three()
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.mp4").touch()
    (folder / "b2").mkdir()
    (folder / "b2" / "broken.jpg").write_bytes(b"no image")
    lines: list[str] = []

    result = sample(folder, report=lines.append)

    assert result.videos.used == ("a.mkv", "b", "c.avi")
    assert result.videos.skipped == ("b2", "broken.mp4", "empty.mp4")
    assert len(result.frames) == 75
    assert len(lines) == 3
    assert lines[0].startswith("skipped: ")


def test_a_video_that_breaks_off_half_way_leaves_nothing_behind(make_three, sample):
    folder = make_three()
    (folder / "b" / "20.png").write_bytes(b"no image")

    result = sample(folder)

    assert result.videos.skipped == ("b",)
    assert len(result.frames) == 50
    assert {value % 6 for value in brightness(result)} == {1, 3}


def test_a_broken_video_that_is_named_alone_is_an_error(tmp_path, sample):
    (tmp_path / "broken.mp4").write_bytes(b"no video")

    with pytest.raises(CalibrationError, match=rf"^{tmp_path}/broken\.mp4 is not a video"):
        sample(tmp_path / "broken.mp4")


def test_a_folder_of_broken_videos_is_one_error(tmp_path, sample):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "b.mp4").touch()

    with pytest.raises(CalibrationError, match=r"none of the 2 video\(s\).*reasons: .*a\.mp4 is"):
        sample(tmp_path)


@pytest.mark.parametrize("name", ["we:ird %05d.mkv", "line\nend.mkv", "caf\udce9.mkv"])
def test_videos_may_have_odd_names(make_video, sample, tmp_path, name):
    (tmp_path / "odd").mkdir()
    make_video(40).rename(tmp_path / "odd" / name)

    result = sample(tmp_path / "odd")

    assert len(result.frames) == 25
    assert result.videos.used[0].isprintable()


def test_the_current_folder_can_be_named(make_images, sample, tmp_path, monkeypatch):
    monkeypatch.chdir(make_images("video", ["a.png"]))

    assert sample(tmp_path / "video").videos == sample(Path()).videos


def test_numbers_below_one_are_refused(tmp_path, sample):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample(tmp_path, snippets=0)


def test_flow_of_files_needs_the_right_opencv_before_any_is_read(make_three, sample, monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    lines: list[str] = []

    with pytest.raises(CalibrationError, match=r"without the module optflow"):
        sample(make_three(), modality=Modality.FLOW, report=lines.append)

    assert lines == []


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_missing_packages_are_an_error_at_use_not_at_import(package, tmp_path):
    program = f"""
import sys
from pathlib import Path
sys.modules["{package}"] = None
from tsnd_builder.calibration.frames import calibration_frames
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality
try:
    calibration_frames(
        Path({str(tmp_path)!r}), modality=Modality.RGB, frame_height=4, frame_width=4,
        stack_depth=0, snippets=1, report=print,
    )
except CalibrationError as err:
    print(err)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert package in shown
    assert "pip install 'tsnd[calibration]'" in shown
