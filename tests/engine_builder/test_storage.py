import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tsnd_builder.errors import PackageError
from tsnd_builder.storage import exclusive, replace_file, write_folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [None, b"a longer old content"])
def test_a_file_is_written_or_replaced_and_nothing_else_stays(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    replace_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["file"]


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"old")

    with path.open("rb") as reader:
        replace_file(path, b"new content")

        assert reader.read() == b"old"


def test_what_a_killed_process_of_the_same_id_left_is_no_hindrance(tmp_path):
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half")

    replace_file(tmp_path / "file", b"whole")

    assert (tmp_path / "file").read_bytes() == b"whole"
    assert names_in(tmp_path) == ["file"]


def test_a_failure_while_writing_leaves_the_old_content_and_no_staging_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    not_bytes: object = "text"

    with pytest.raises(TypeError):
        replace_file(path, not_bytes)  # type: ignore[arg-type]  # fails as it is written

    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_folder_in_the_place_of_the_file_is_refused_and_kept(tmp_path):
    (tmp_path / "there").mkdir()

    with pytest.raises(PackageError, match=os.strerror(errno.EISDIR)):
        replace_file(tmp_path / "there", b"new")

    assert names_in(tmp_path) == ["there"]


@pytest.mark.parametrize("below", ["none/file", "file/below"])
def test_a_place_that_is_not_there_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"old")

    with pytest.raises(PackageError, match="cannot write"):
        replace_file(tmp_path / below, b"new")

    assert names_in(tmp_path) == ["file"]


def test_a_folder_gets_all_its_files(tmp_path):
    write_folder(tmp_path / "new", {"a": b"1", "b": b""})

    assert {p.name: p.read_bytes() for p in (tmp_path / "new").iterdir()} == {"a": b"1", "b": b""}


def test_a_folder_that_exists_is_not_written_into(tmp_path):
    with pytest.raises(FileExistsError):
        write_folder(tmp_path, {"a": b""})

    assert names_in(tmp_path) == []


def test_only_one_writes_at_a_time(tmp_path):
    inside = threading.Lock()

    def write(_):
        with exclusive(tmp_path):
            is_alone = inside.acquire(blocking=False)
            if is_alone:
                inside.release()
            return is_alone

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(64)))


def test_the_place_is_free_again_after_a_failure(tmp_path):
    with pytest.raises(KeyError), exclusive(tmp_path):
        raise KeyError

    with exclusive(tmp_path):
        (tmp_path / "written").touch()

    assert (tmp_path / "written").exists()


@pytest.mark.parametrize("old", ["precious", None])
def test_a_link_in_the_place_of_the_lock_is_refused_and_its_target_kept(tmp_path, old):
    target = tmp_path / "elsewhere"
    if old is not None:
        target.write_text(old)
    (tmp_path / ".tsn-build.lock").symlink_to(target)

    with pytest.raises(OSError, match="symbolic links"), exclusive(tmp_path):
        pass

    assert (target.read_text() if target.exists() else None) == old
