"""Features of videos as a data set for PyTorch, computed by a daemon when they are asked for.

    data = FeatureDataset(["a.mp4", "b.mp4"], "kinetics_rgb", target="gpu7:8001")
    loader = DataLoader(data, num_workers=4, batch_size=None)

It is a map-style data set, which PyTorch knows by `__len__` and `__getitem__` alone; so without
PyTorch it works as well, and gives NumPy arrays.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd_client import Client, SnippetRejected, score_resiliently
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.model_info import ModelInfo
from tsnd_client.sources.open import open_stored

try:
    from torch.utils.data import Dataset
except ImportError:
    Dataset = object


class FeatureDataset(Dataset):  # type: ignore[misc, unused-ignore]  # of PyTorch, where it is
    """The features of whole videos: for each, float32 [snippets, D]."""

    def __init__(
        self,
        videos: Sequence[Path | str],
        model: str,
        *,
        target: str = "127.0.0.1:8001",
        stride: int = 6,
    ) -> None:
        """Connect to nothing yet.

        Args:
            videos: Files, or folders of frames.
            model: Name of the rgb model.
            target: HOST:PORT of the daemon.
            stride: Every how many frames a snippet is made; SSN takes 6.
        """
        self.videos = [Path(video) for video in videos]
        self.model = model
        self.target = target
        self.stride = stride
        self._clients: dict[int, Client] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> npt.NDArray[np.floating]:
        """Compute the features of one video.

        Raises:
            SnippetRejected: The daemon could not score one of its frames.
        """
        client = self._client()
        model = client.model(self.model)
        rows = []
        for result in score_resiliently(client, model, self._snippets(index, model)):
            if isinstance(result, SnippetRejected):
                raise result
            rows.append(result.features)
        return np.stack(rows)

    def _snippets(self, index: int, model: ModelInfo) -> Iterator[NamedPixels]:
        with open_stored(self.videos[index]) as source:
            for frame in source.frames(self.stride):
                pixels = resize_bgr(frame.bgr, model.frame_width, model.frame_height)
                yield str(frame.index), pixels

    def _client(self) -> Client:
        """One for each process: gRPC's connections do not survive the fork of a DataLoader."""
        if os.getpid() not in self._clients:
            self._clients[os.getpid()] = Client(self.target)
        return self._clients[os.getpid()]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clients": {}}


if __name__ == "__main__":
    data = FeatureDataset(sys.argv[3:], sys.argv[1], target=sys.argv[2])
    for number in range(len(data)):
        print(data.videos[number].name, *data[number].shape)
