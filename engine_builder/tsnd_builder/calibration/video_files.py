"""One video file, numbered as dense_flow numbers: image j is frame j, counted from 0.

So frame 0 is no image, a file of F frames has F - 1, and flow field j leads to image j.
dense_flow stores them as JPEG on the way; here they are used as they are.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tsnd_builder.calibration.decoding import measure, read_frames
from tsnd_builder.calibration.flow import quantise, tv_l1
from tsnd_builder.calibration.resizing import resize
from tsnd_builder.calibration.snippets import Pixels, SnippetSpec
from tsnd_builder.errors import CalibrationError
from tsnd_builder.shown import shown


@dataclass(frozen=True, slots=True)
class RgbFile:
    """The images of a video file; a `Video`."""

    path: Path
    spec: SnippetSpec
    report: Callable[[str], object]

    def count(self) -> int:
        """Return the number of frames after the first."""
        return _count_images(self.path, self.report)

    def read(self, indices: Sequence[int]) -> Generator[Pixels, None, None]:
        """Decode and resize frames."""
        with closing(read_frames(self.path, indices)) as frames:
            for frame in frames:
                yield resize(frame, self.spec.frame_height, self.spec.frame_width)


@dataclass(frozen=True, slots=True)
class FlowFile:
    """The flow fields of a video file, computed where they are asked for; a `Video`."""

    path: Path
    spec: SnippetSpec
    report: Callable[[str], object]

    def count(self) -> int:
        """Return the number of pairs of neighbouring frames."""
        return _count_images(self.path, self.report)

    def read(self, indices: Sequence[int]) -> Generator[Pixels, None, None]:
        """Compute the flow from the frame before to each frame.

        It is slow, so it is announced: TV-L1 takes 1 to 2 s per field of 340 x 256
        on two cores of a server, by how much moves.
        """
        self.report(f"computing {len(indices)} TV-L1 flow fields of {shown(self.path)}")
        flow_between = tv_l1()
        wanted = set(indices)
        needed = sorted(wanted | {index - 1 for index in indices})
        earlier = np.empty((0, 0), np.uint8)
        with closing(read_frames(self.path, needed)) as frames:
            for index, frame in zip(needed, frames, strict=True):
                later = self._grey(frame)
                if index in wanted:  # then the one before was read just before
                    yield quantise(flow_between(earlier, later).transpose(2, 0, 1))
                earlier = later

    def _grey(self, frame: Pixels) -> Pixels:
        resized = resize(frame, self.spec.frame_height, self.spec.frame_width)
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY), np.uint8)


def _count_images(path: Path, report: Callable[[str], object]) -> int:
    length = measure(path)
    if length.frames < 2:
        raise CalibrationError(
            f"{shown(path)} has {length.frames} frame(s) that can be decoded, expected at least "
            "2: TSN starts with the second. Name a longer video, or an intact one."
        )
    if length.broken:
        report(f"{shown(path)}: {length.broken} broken frame(s) left out, {length.frames} used")
    return length.frames - 1
