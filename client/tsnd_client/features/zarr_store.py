"""Zarr: one store with a group per video, each a folder that is renamed into its place."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr

from tsnd_client.features.store import FeatureStore, StoreSettings
from tsnd_client.features.video_features import VideoFeatures

STORE = "features.zarr"


def make_store(folder: Path, _settings: StoreSettings) -> FeatureStore:
    """Keep FOLDER/features.zarr with a group NAME for each video."""
    return _ZarrStore(folder / STORE)


class _ZarrStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        zarr.open_group(str(folder), mode="a")

    def has(self, name: str) -> bool:
        """Return whether the group is there."""
        return (self._folder / name).is_dir()

    def write(self, video: VideoFeatures) -> None:
        """Write the group beside the store, then move it in."""
        partial = self._folder.with_name(f".{video.name}.{os.getpid()}.partial")
        try:
            group = zarr.create_group(str(partial), overwrite=True, attributes=dict(video.facts()))
            for name, array in video.named_arrays():
                group.create_array(name, data=np.asarray(array))
            partial.rename(self._folder / video.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def finish(self, names: Sequence[str]) -> None:
        """Do nothing: the groups are all there is."""
