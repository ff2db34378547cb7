"""The dense outputs of one video, whatever they are stored in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd_client.model_info import Modality
from tsnd_client.videos.snippet import ScoredVideo

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class VideoFeatures:
    """What was computed for a video, every `interval` frames.

    Row i of a modality's arrays belongs to its tick i. In dense_flow's numbering tick t of rgb
    is image t, and of flow the fields t, t + 1, ... of the stack; both count from 1.

    Attributes:
        name: The video's.
        images: How many images it has in that numbering.
        frames_per_s: Its average frame rate; 0 when unknown.
        interval: Frames from one tick to the next.
        ticks: int64 [T] by modality; the modalities' T may differ by a few.
        arrays: float32 [T, ...] by output, such as scores, then by modality.
    """

    name: str
    images: int
    frames_per_s: float
    interval: int
    ticks: Mapping[Modality, npt.NDArray[np.int64]]
    arrays: Mapping[str, Mapping[Modality, Array]]

    def named_arrays(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        """Name every array: rgb_ticks, rgb_scores, rgb_features, flow_ticks, ..."""
        for modality, ticks in self.ticks.items():
            yield f"{modality}_ticks", ticks
            for output, by_modality in self.arrays.items():
                yield f"{modality}_{output}", by_modality[modality]

    def facts(self) -> Iterator[tuple[str, int | float]]:
        """Name what is known of the video beside its arrays."""
        yield from (
            ("images", self.images),
            ("frames_per_s", self.frames_per_s),
            ("interval", self.interval),
        )

    def joined(self, output: str) -> Array:
        """Put the modalities of one output side by side, rgb first.

        Returns:
            float32 [T, D]: T is the smaller of the modalities', D the sum of theirs.
        """
        arrays = list(self.arrays[output].values())
        rows = min(map(len, arrays))
        return np.concatenate([array[:rows].reshape(rows, -1) for array in arrays], axis=1)

    def joined_ticks(self) -> npt.NDArray[np.int64]:
        """Return the ticks [T] of the rows of `joined`."""
        return min(self.ticks.values(), key=len)


def to_features(video: ScoredVideo, interval: int, outputs: Sequence[str]) -> VideoFeatures:
    """Take what is to be stored out of a scored video.

    Args:
        video: With a result of every modality that was asked for.
        interval: Frames between its ticks.
        outputs: Which outputs, in the order of the store.
    """
    modalities = [modality for modality in Modality if modality in video.streams]
    streams = {modality: video.streams[modality] for modality in modalities}
    return VideoFeatures(
        name=video.name,
        images=video.images,
        frames_per_s=video.frames_per_s,
        interval=interval,
        ticks={modality: stream.ticks for modality, stream in streams.items()},
        arrays={
            output: {modality: stream.outputs[output] for modality, stream in streams.items()}
            for output in outputs
        },
    )
