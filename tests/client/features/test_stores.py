"""Every format by the readers that it is made for."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tsnd_client import InputError, Modality, OutputError
from tsnd_client.features.store import FORMATS, StoreSettings, open_store
from tsnd_client.features.video_features import VideoFeatures, to_features
from tsnd_client.videos.snippet import ScoredVideo, StreamOutputs

RGB, FLOW = Modality.RGB, Modality.FLOW


def video(name="v_one", seed=0, rows=(5, 4)):
    """rgb with one tick more than flow, as a video may have."""
    rng = np.random.default_rng(seed)

    def stream(count):
        return StreamOutputs(
            ticks=1 + 6 * np.arange(count),
            outputs={
                "scores": rng.normal(size=(count, 3)).astype(np.float32),
                "features": rng.normal(size=(count, 4)).astype(np.float32),
            },
            versions=(1,),
        )

    streams = {RGB: stream(rows[0]), FLOW: stream(rows[1])}
    return to_features(ScoredVideo(0, name, 30, 25.0, streams), 6, ("scores", "features"))


def settings(name, **changes):
    fields = {"outputs": ("scores", "features"), "interval": 6, "models": {"rgb": "tiny:1"}}
    return StoreSettings(**{"format": name, **fields, **changes})


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_there_when_the_store_is_opened_again(tmp_path, name):
    store = open_store(tmp_path / "new" / "out", settings(name))
    assert not store.has("v_one")
    store.write(video())
    store.finish(["v_one"])

    again = open_store(tmp_path / "new" / "out", settings(name))
    assert again.has("v_one")
    assert not again.has("v_two")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_videos_make_the_same_bytes_in_any_order(tmp_path, name):
    for folder, seeds in [("a", (1, 2, 3)), ("b", (3, 1, 2))]:
        store = open_store(tmp_path / folder, settings(name))
        for seed in seeds:
            store.write(video(f"v_{seed}", seed))
        store.finish([f"v_{seed}" for seed in seeds])

    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) > 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_of_other_settings_is_refused_with_the_difference(tmp_path, name):
    open_store(tmp_path, settings(name))

    with pytest.raises(InputError, match=r"interval 6, not 16.*Name another folder"):
        open_store(tmp_path, settings(name, interval=16))


def test_settings_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "extract.json").write_text("{")

    with pytest.raises(InputError, match=r"extract\.json cannot be read"):
        open_store(tmp_path, settings("npz"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="Name a folder"):
        open_store(tmp_path / "file" / "out", settings("npz"))


def test_an_unknown_format_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(InputError, match="choose npy, npz, csv, hdf5, parquet, zarr"):
        open_store(tmp_path, settings("mat"))


def test_a_missing_package_names_the_extra(tmp_path):
    blocked = (
        "import sys; sys.modules['h5py'] = None\n"
        "from pathlib import Path\n"
        "from tsnd_client.features.store import StoreSettings, open_store\n"
        f"open_store(Path({str(tmp_path)!r}), StoreSettings('hdf5', ('scores',), 6, {{}}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, check=False
    )

    assert "MissingExtra" in ended.stderr
    assert "pip install 'tsnd[features]'" in ended.stderr


def written(folder, name):
    store = open_store(folder, settings(name))
    for each in ("v_one", "v_two"):
        store.write(video(each))
    store.finish(["v_one", "v_two"])
    return video()


def test_npy_is_one_matrix_with_rgb_beside_flow(tmp_path):
    expected = written(tmp_path, "npy")

    matrix = np.load(tmp_path / "features" / "v_one.npy")

    assert (matrix.shape, matrix.dtype) == ((4, 8), np.float32)
    np.testing.assert_array_equal(matrix[:, :4], expected.arrays["features"][RGB][:4])
    np.testing.assert_array_equal(matrix[:, 4:], expected.arrays["features"][FLOW])


def test_npz_has_every_row_of_both_modalities_and_needs_no_pickle(tmp_path):
    expected = written(tmp_path, "npz")

    with np.load(tmp_path / "v_one.npz", allow_pickle=False) as file:
        assert set(file) == {
            *(f"{m}_{what}" for m in ("rgb", "flow") for what in ("ticks", "scores", "features")),
            *("images", "frames_per_s", "interval"),
        }
        np.testing.assert_array_equal(file["rgb_scores"], expected.arrays["scores"][RGB])
        assert file["rgb_ticks"].tolist() == [1, 7, 13, 19, 25]
        assert (int(file["images"]), float(file["frames_per_s"])) == (30, 25.0)


def test_csv_gives_every_float_back(tmp_path):
    expected = written(tmp_path, "csv")

    path = tmp_path / "scores" / "v_one.csv"
    assert path.read_text().splitlines()[0] == "rgb-0,rgb-1,rgb-2,flow-0,flow-1,flow-2"
    matrix = np.loadtxt(path, np.float32, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(matrix, expected.joined("scores"))


def test_hdf5_is_one_store_that_can_be_moved(tmp_path):
    h5py = pytest.importorskip("h5py")
    expected = written(tmp_path / "here", "hdf5")
    shutil.move(tmp_path / "here", tmp_path / "there")

    with h5py.File(tmp_path / "there" / "features.h5") as store:
        assert sorted(store) == ["v_one", "v_two"]
        group = store["v_one"]
        np.testing.assert_array_equal(group["flow_features"], expected.arrays["features"][FLOW])
        assert dict(group.attrs) == {"images": 30, "frames_per_s": 25.0, "interval": 6}


def test_parquet_is_one_table_of_all_videos(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    expected = written(tmp_path, "parquet")

    table = pq.read_table(tmp_path / "videos")

    assert table.column("video").to_pylist() == ["v_one"] * 4 + ["v_two"] * 4
    assert table.column("tick").to_pylist()[:4] == [1, 7, 13, 19]
    rows = np.array(table.column("rgb_features").to_pylist()[:4], np.float32)
    np.testing.assert_array_equal(rows, expected.arrays["features"][RGB][:4])


def test_zarr_is_one_store_with_a_group_per_video(tmp_path):
    zarr = pytest.importorskip("zarr")
    expected = written(tmp_path, "zarr")

    store = zarr.open_group(str(tmp_path / "features.zarr"), mode="r")

    assert sorted(store.group_keys()) == ["v_one", "v_two"]
    np.testing.assert_array_equal(store["v_one/rgb_scores"][:], expected.arrays["scores"][RGB])
    assert store["v_one"].attrs["interval"] == 6


def test_one_modality_alone_is_stored_as_it_is():
    streams = {FLOW: StreamOutputs(np.array([1]), {"scores": np.ones((1, 3), np.float32)}, (1,))}
    features = to_features(ScoredVideo(0, "v", 9, 25.0, streams), 6, ("scores",))

    assert isinstance(features, VideoFeatures)
    assert features.joined("scores").tolist() == [[1, 1, 1]]
    assert [name for name, _ in features.named_arrays()] == ["flow_ticks", "flow_scores"]


def test_settings_are_json_that_people_can_read(tmp_path):
    open_store(tmp_path, settings("npz", flow="tvl1"))

    assert json.loads((tmp_path / "extract.json").read_text()) == {
        "format": "npz",
        "outputs": ["scores", "features"],
        "interval": 6,
        "models": {"rgb": "tiny:1"},
        "flow": "tvl1",
    }
