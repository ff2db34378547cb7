import os
import subprocess
import sys

import pytest

from tsnd_client.atomic import remove_leftovers, replacing


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()

    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["file"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half of the n")
        raise ZeroDivisionError

    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    folder = tmp_path / "videos"
    (folder / f".group.{dead}.partial").mkdir(parents=True)
    (folder / f".v.npy.{dead}.partial").write_bytes(b"")
    (folder / f".w.npy.{os.getpid()}.partial").write_bytes(b"")
    (folder / ".notes.partial").write_bytes(b"")

    remove_leftovers(tmp_path)

    assert names_in(folder) == [".notes.partial", f".w.npy.{os.getpid()}.partial"]
