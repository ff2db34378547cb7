import os

import pytest

from tsnd_builder.calibration.sources import find_videos
from tsnd_builder.errors import CalibrationError


@pytest.fixture
def make_tree(tmp_path):
    """Make empty files, and the folders on their ways."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def names_in(folder):
    sources = find_videos(folder)
    assert not sources.is_single
    return [path.relative_to(folder).as_posix() for path in sources.paths]


@pytest.mark.parametrize("name", ["video.mp4", "video", "video.txt"])
def test_a_file_is_one_video_whatever_it_is_called(make_tree, name):
    path = make_tree(name) / name

    sources = find_videos(path)

    assert (sources.paths, sources.is_single) == ((path,), True)


@pytest.mark.parametrize(
    "names",
    [
        ["img_00001.jpg", "flow_x_00001.jpg", "flow_y_00001.jpg"],
        ["flow_x_1.jpg", "flow_y_1.jpg", "video.mp4", "notes.txt"],
        ["img_0001.png", "more/video.mp4"],
        ["a.jpg", "b.JPEG", "c.png", "notes.txt"],
    ],
    ids=["dense_flow", "dense_flow beside a video", "dense_flow beside a folder", "plain"],
)
def test_a_folder_of_images_is_one_video(make_tree, names):
    folder = make_tree(*names)

    sources = find_videos(folder)

    assert (sources.paths, sources.is_single) == ((folder,), True)


def test_a_folder_of_videos_and_of_folders_of_images_is_many(make_tree):
    folder = make_tree("b.mp4", "a.AVI", "d/img_00001.jpg", "c/frame1.png", "c/frame2.png")

    assert names_in(folder) == ["a.AVI", "b.mp4", "c", "d"]


def test_a_folder_per_class_is_entered(make_tree):
    folder = make_tree("run/2.mkv", "run/1.mkv", "sit/3/img_1.jpg", "sit/4/img_1.jpg", "0.mkv")

    assert names_in(folder) == ["0.mkv", "run/1.mkv", "run/2.mkv", "sit/3", "sit/4"]


def test_other_files_are_ignored_and_counted(make_tree):
    folder = make_tree("a.mp4", "labels.txt", "poster.jpg", ".b.mp4", "c/d.csv", "c/e.mp4")

    assert names_in(folder) == ["a.mp4", "c/e.mp4"]
    assert find_videos(folder).ignored == 4


def test_folders_are_entered_once_also_in_a_loop_of_links(make_tree):
    folder = make_tree("a.mp4", "c/b.mp4")
    (folder / "c" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "again").symlink_to("c", target_is_directory=True)
    (folder / "self.mp4").symlink_to("self.mp4")

    assert len(find_videos(folder).paths) == 2


def test_links_to_videos_are_videos(make_tree):
    folder = make_tree("videos/link.mp4", "elsewhere/a.mp4")
    (folder / "videos" / "b.mp4").symlink_to(folder / "elsewhere" / "a.mp4")

    assert names_in(folder / "videos") == ["b.mp4", "link.mp4"]


def test_pipes_are_no_videos(make_tree):
    folder = make_tree("a.mp4")
    os.mkfifo(folder / "pipe.mp4")

    assert names_in(folder) == ["a.mp4"]
    with pytest.raises(CalibrationError, match=r"pipe\.mp4 is a pipe or device"):
        find_videos(folder / "pipe.mp4")


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["sub/notes.txt"]])
def test_a_folder_without_videos_is_an_error(make_tree, names):
    with pytest.raises(CalibrationError, match=r"holds no video and no folder of images.*\.mp4"):
        find_videos(make_tree(*names))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "No such file"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_a_path_to_nothing_is_an_error(tmp_path, name, reason):
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(CalibrationError, match=reason):
        find_videos(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_an_error_or_a_video_to_skip(make_tree):
    folder = make_tree("a.mp4", "closed/b.mp4")
    (folder / "closed").chmod(0)

    assert names_in(folder) == ["a.mp4", "closed"]
    with pytest.raises(CalibrationError, match="closed cannot be listed: Permission denied"):
        find_videos(folder / "closed")
