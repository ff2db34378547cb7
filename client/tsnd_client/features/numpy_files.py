"""NumPy's own files: npz with everything, npy with one matrix that detectors load as it is."""

from pathlib import Path
from typing import IO

import numpy as np

from tsnd_client.features.files import FeatureFiles, OutputFiles
from tsnd_client.features.store import FeatureStore, StoreSettings
from tsnd_client.features.video_features import VideoFeatures


def make_store(folder: Path, settings: StoreSettings) -> FeatureStore:
    """Keep FOLDER/NAME.npz, or FOLDER/OUTPUT/NAME.npy for each output."""
    if settings.format == "npz":
        return FeatureFiles(folder, ".npz", _write_npz)
    return OutputFiles(folder, ".npy", settings.outputs, _write_npy)


def _write_npz(file: IO[bytes], video: VideoFeatures) -> None:
    arrays = dict(video.named_arrays())
    facts = {name: np.asarray(value) for name, value in video.facts()}
    np.savez(file, **arrays, **facts)  # type: ignore[arg-type] # its own parameters have other names


def _write_npy(file: IO[bytes], video: VideoFeatures, output: str) -> None:
    np.save(file, video.joined(output))
