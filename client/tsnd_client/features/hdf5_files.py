"""HDF5: a file per video, and one that links to them all, so that readers open a single store."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import h5py

from tsnd_client.atomic import replacing
from tsnd_client.features.files import FeatureFiles
from tsnd_client.features.store import FeatureStore, StoreSettings
from tsnd_client.features.video_features import VideoFeatures

INDEX = "features.h5"


def make_store(folder: Path, _settings: StoreSettings) -> FeatureStore:
    """Keep FOLDER/videos/NAME.h5, and FOLDER/features.h5 with a group NAME for each."""
    return _Hdf5Store(folder)


class _Hdf5Store(FeatureFiles):
    def __init__(self, folder: Path) -> None:
        self._index = folder / INDEX
        self._videos = folder / "videos"
        self._videos.mkdir(exist_ok=True)
        super().__init__(self._videos, ".h5", _write)

    def finish(self, names: Sequence[str]) -> None:
        """Write the file of links; they are relative, so the folder can be moved."""
        with replacing(self._index) as file, h5py.File(file, "w") as index:
            for name in sorted(names):
                link = f"{self._videos.name}/{name}.h5"
                index[name] = h5py.ExternalLink(link, "/")


def _write(file: IO[bytes], video: VideoFeatures) -> None:
    with h5py.File(file, "w") as store:
        for name, array in video.named_arrays():
            store.create_dataset(name, data=array, track_times=False)
        for fact, value in video.facts():
            store.attrs[fact] = value
