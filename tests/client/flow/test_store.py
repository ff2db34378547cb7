import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.client.sources.videos import picture_of
from tsnd_client.errors import OutputError
from tsnd_client.flow.store import FlowStore, Recipe
from tsnd_client.sources.folder import FlowFolder, FrameFolder

RECIPE = Recipe("clip.mp4", 1234, 3, "tvl1", 20.0, 64, 48)


def planes_of(index):
    return np.stack([np.full((48, 64), level + index, np.uint8) for level in (100, 10)])


def write(store, *numbers):
    for number in numbers:
        store.write(number, picture_of(number), planes_of(number))


@pytest.fixture
def store(tmp_path):
    store = FlowStore(tmp_path / "out" / "clip")
    store.begin(RECIPE)
    return store


def test_what_is_written_is_read_back_under_the_same_numbers(store):
    write(store, 1, 2, 3)

    flow, frames = FlowFolder(store.folder), FrameFolder(store.folder)

    assert flow.indices == frames.indices == range(1, 4)
    for field in flow.fields_at([1, 2, 3]):
        np.testing.assert_array_equal(field.planes, planes_of(field.index))
    for frame in frames.frames():
        assert np.abs(frame.bgr.astype(int) - picture_of(frame.index)).mean() < 10


def test_names_are_those_of_dense_flow(store):
    write(store, 1)

    assert sorted(path.name for path in store.folder.iterdir()) == [
        "flow.json",
        "flow_x_00001.jpg",
        "flow_y_00001.jpg",
        "img_00001.jpg",
    ]


def test_a_number_is_done_when_its_three_images_are_there_and_not_empty(store):
    write(store, 1, 2, 3, 4)
    (store.folder / "img_00002.jpg").unlink()
    (store.folder / "flow_y_00003.jpg").write_bytes(b"")

    assert store.done() == {1, 4}
    assert store.missing(range(1, 6)) == [2, 3, 5]


def test_what_was_half_written_when_the_power_went_is_not_counted(store):
    write(store, 1)
    half = store.folder / f".img_00002.jpg.{a_process_that_ended()}.partial"
    half.write_bytes(b"half")

    assert store.done() == {1}
    assert FrameFolder(store.folder).indices == range(1, 2)
    store.begin(RECIPE)
    assert not half.exists()


def test_what_another_run_is_writing_is_left_alone(store):
    other = store.folder / f".img_00002.jpg.{os.getpid()}.partial"
    other.write_bytes(b"half")

    store.begin(RECIPE)

    assert other.exists()


def a_process_that_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_same_recipe_goes_on(store):
    write(store, 1)

    FlowStore(store.folder).begin(RECIPE)

    assert store.done() == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "dis"}, "begun with algorithm tvl1, not dis"),
        ({"video_bytes": 99}, "begun with video_bytes 1234, not 99"),
        ({"bound": 15.0}, "begun with bound 20.0, not 15.0"),
    ],
)
def test_another_recipe_is_refused(store, change, message):
    other = Recipe(**{**json.loads((store.folder / "flow.json").read_text()), **change})

    with pytest.raises(OutputError, match=message):
        store.begin(other)


def test_images_of_unknown_origin_are_left_alone(store):
    write(store, 1)
    (store.folder / "flow.json").unlink()

    with pytest.raises(OutputError, match=r"has images already, but no flow\.json"):
        store.begin(RECIPE)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"video": 1, "what": 2}', "\0"])
def test_a_recipe_that_cannot_be_read_is_an_error(store, content):
    (store.folder / "flow.json").write_text(content)

    with pytest.raises(OutputError, match="cannot be read as what `tsn flow` wrote"):
        store.begin(RECIPE)


def test_a_place_that_takes_no_files_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(OutputError, match="Not a directory"):
        FlowStore(tmp_path / "file" / "clip").begin(RECIPE)
