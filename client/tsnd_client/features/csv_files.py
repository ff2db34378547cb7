"""CSV as the readers of BSN and BMN expect it: a row of names, then a row per tick."""

from pathlib import Path
from typing import IO

import numpy as np

from tsnd_client.features.files import OutputFiles
from tsnd_client.features.store import FeatureStore, StoreSettings
from tsnd_client.features.video_features import VideoFeatures


def make_store(folder: Path, settings: StoreSettings) -> FeatureStore:
    """Keep FOLDER/OUTPUT/NAME.csv for each output."""
    return OutputFiles(folder, ".csv", settings.outputs, _write)


def _write(file: IO[bytes], video: VideoFeatures, output: str) -> None:
    names = [
        f"{modality}-{column}"
        for modality, array in video.arrays[output].items()
        for column in range(int(np.prod(array.shape[1:])))
    ]
    # 9 digits give every float32 back as it was.
    np.savetxt(
        file, video.joined(output), "%.9g", delimiter=",", header=",".join(names), comments=""
    )
