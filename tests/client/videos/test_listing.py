import pytest

from tsnd_client import InputError
from tsnd_client.videos.listing import find_videos


@pytest.fixture
def folder(tmp_path):
    for name in ("b/two.MP4", "one.avi", "notes.txt", "b/frames.v1/img_00001.jpg", "b/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_gives_its_video_files_and_folders_of_images(folder):
    assert find_videos(folder) == [
        ("frames.v1", folder / "b" / "frames.v1"),
        ("one", folder / "one.avi"),
        ("two", folder / "b" / "two.MP4"),
    ]


def test_a_list_gives_the_paths_on_its_lines(folder):
    (folder / "list.txt").write_text("# videos\n\n b/two.MP4 \none.avi\n")

    assert find_videos(folder / "list.txt") == [
        ("one", folder / "one.avi"),
        ("two", folder / "b" / "two.MP4"),
    ]


def test_the_paths_of_a_list_start_where_they_are_said_to(folder, tmp_path):
    (tmp_path / "list.txt").write_text("two.MP4\n")

    assert find_videos(tmp_path / "list.txt", folder / "b") == [("two", folder / "b" / "two.MP4")]


def test_two_videos_of_one_name_are_refused_with_both(folder):
    (folder / "list.txt").write_text("b/two.MP4\nc/two.avi\n")

    with pytest.raises(InputError, match=r"2 videos are called 'two'.*b/two\.MP4 and .*c/two\.avi"):
        find_videos(folder / "list.txt")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "has no videos"), (b"# none\n", "has no videos"), (b"\xff\xfe\x00", "is not a list")],
)
def test_a_list_of_nothing_is_refused(tmp_path, content, complaint):
    (tmp_path / "list.txt").write_bytes(content)

    with pytest.raises(InputError, match=complaint):
        find_videos(tmp_path / "list.txt")


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        find_videos(tmp_path / "list.txt")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no videos"):
        find_videos(tmp_path)
