"""Parquet: a file per video, which together are one table with a row per video and tick."""

from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tsnd_client.features.files import FeatureFiles
from tsnd_client.features.store import FeatureStore, StoreSettings
from tsnd_client.features.video_features import VideoFeatures


def make_store(folder: Path, _settings: StoreSettings) -> FeatureStore:
    """Keep FOLDER/videos/NAME.parquet."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    return FeatureFiles(videos, ".parquet", _write)


def _write(file: IO[bytes], video: VideoFeatures) -> None:
    ticks = video.joined_ticks()
    columns: dict[str, pa.Array] = {
        "video": pa.array([video.name] * len(ticks), pa.string()),
        "tick": pa.array(ticks, pa.int64()),
    }
    for output, arrays in video.arrays.items():
        for modality, array in arrays.items():
            rows = np.ascontiguousarray(array[: len(ticks)]).reshape(len(ticks), -1)
            values = pa.array(rows.ravel(), pa.float32())
            columns[f"{modality}_{output}"] = pa.FixedSizeListArray.from_arrays(
                values, rows.shape[1]
            )
    facts = {name: str(value) for name, value in video.facts()}
    pq.write_table(pa.table(columns).replace_schema_metadata(facts), file)
