import os
from pathlib import Path

import pytest

from tsnd_builder.shown import shown


@pytest.mark.parametrize("name", ["videos/a b.mp4", "über/学.mkv"])
def test_a_printable_name_is_shown_as_it_is(name):
    assert shown(Path(name)) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [("a\nb.mp4", r"'a\nb.mp4'"), ("\x1b[2J.mp4", r"'\x1b[2J.mp4'")],
)
def test_a_name_that_would_upset_a_terminal_is_escaped(name, text):
    assert shown(Path(name)) == text


def test_a_name_that_is_not_utf8_can_be_printed():
    name = os.fsdecode(b"caf\xe9.mp4")

    assert shown(Path(name)).encode() == rb"'caf\udce9.mp4'"
