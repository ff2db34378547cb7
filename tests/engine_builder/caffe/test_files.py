import pytest

from tsnd_builder.caffe.files import read_bytes, sha256
from tsnd_builder.errors import FileUnreadable


def test_a_file_is_read_whole(tmp_path):
    path = tmp_path / "some.bin"
    path.write_bytes(b"\0\1\2")

    assert read_bytes(path) == b"\0\1\2"


def test_an_empty_file_is_taken_for_an_interrupted_download(tmp_path):
    path = tmp_path / "empty.caffemodel"
    path.touch()

    with pytest.raises(FileUnreadable, match=r"empty\.caffemodel is empty.*interrupted download"):
        read_bytes(path)


def test_a_folder_is_refused_as_one(tmp_path):
    with pytest.raises(FileUnreadable, match="is a folder; name a file in it"):
        read_bytes(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("file/below", "Not a directory"),
    ],
    ids=["missing", "long", "below_a_file"],
)
def test_a_path_that_cannot_be_opened_is_refused_with_the_reason(tmp_path, name, reason):
    (tmp_path / "file").touch()

    with pytest.raises(FileUnreadable, match=reason):
        read_bytes(tmp_path / name)


def test_sha256_is_lower_case_hex():
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")
