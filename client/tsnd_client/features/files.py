"""Stores of one file per video: two shapes of folder, whatever the files' format is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tsnd_client.atomic import replacing
from tsnd_client.features.video_features import VideoFeatures


class FeatureFiles:
    """FOLDER/NAME.SUFFIX with everything about a video."""

    def __init__(
        self, folder: Path, suffix: str, write: Callable[[IO[bytes], VideoFeatures], None]
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._write = write

    def has(self, name: str) -> bool:
        """Return whether the file is there."""
        return self._path(name).is_file()

    def write(self, video: VideoFeatures) -> None:
        """Write the file."""
        with replacing(self._path(video.name)) as file:
            self._write(file, video)

    def finish(self, names: Sequence[str]) -> None:
        """Do nothing: the files are all there is."""

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{self._suffix}"


class OutputFiles:
    """FOLDER/OUTPUT/NAME.SUFFIX with one matrix each."""

    def __init__(
        self,
        folder: Path,
        suffix: str,
        outputs: Sequence[str],
        write: Callable[[IO[bytes], VideoFeatures, str], None],
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._outputs = outputs
        self._write = write

    def has(self, name: str) -> bool:
        """Return whether the files of all outputs are there."""
        return all(self._path(output, name).is_file() for output in self._outputs)

    def write(self, video: VideoFeatures) -> None:
        """Write a file per output."""
        for output in self._outputs:
            path = self._path(output, video.name)
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as file:
                self._write(file, video, output)

    def finish(self, names: Sequence[str]) -> None:
        """Do nothing: the files are all there is."""

    def _path(self, output: str, name: str) -> Path:
        return self._folder / output / f"{name}{self._suffix}"
