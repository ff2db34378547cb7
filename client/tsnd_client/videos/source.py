"""The frames and the flow of one video, as far as it has them: a file, or a folder of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.errors import VideoError
from tsnd_client.flow.stack import FlowField
from tsnd_client.sources.base import Frame, StoredSource
from tsnd_client.sources.folder import FlowFolder, FrameFolder, list_images
from tsnd_client.sources.video_file import VideoFile, probe


@dataclass(frozen=True, slots=True)
class Video:
    """One video to score.

    Attributes:
        name: What the user called it.
        frames: Its frames; None in a folder of flow alone.
        flow: Its stored flow; None where flow is to be computed from the frames.
        frames_per_s: Its average frame rate; 0 when it does not say.
    """

    name: str
    frames: StoredSource | None
    flow: FlowFolder | None
    frames_per_s: float

    @property
    def images(self) -> int:
        """How many images it has in dense_flow's numbering: all frames but the first."""
        return self.frames.indices.stop - 1 if self.frames else 0

    @property
    def fields(self) -> int:
        """How many flow fields it has, or can be computed."""
        return self.flow.indices.stop - 1 if self.flow else self.images

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Read frames; as `StoredSource.frames_at`.

        Raises:
            VideoError: It has none, or one cannot be read.
        """
        if self.frames is None:
            raise VideoError(f"{self.name} has flow images, but no img_*.jpg beside them.")
        first = self.frames.indices.start
        if indices and indices[0] < first:
            raise VideoError(
                f"{self.name} has no stored flow, and to compute it lacks frame {indices[0]}: its "
                f"images begin with {first}. `tsn flow` makes folders with both."
            )
        yield from self.frames.frames_at(indices)

    def fields_at(self, indices: Sequence[int]) -> Iterator[FlowField]:
        """Read stored flow fields; there must be some."""
        assert self.flow is not None
        yield from self.flow.fields_at(indices)


def open_video(path: Path) -> Video:
    """Open a video file, or a folder of dense_flow's or denseflow's images.

    Raises:
        VideoError: It cannot be read, or has neither frames nor flow.
    """
    if not path.is_dir():
        return Video(str(path), VideoFile(path), None, probe(path).frames_per_s)
    kinds = list_images(path).names
    return Video(
        str(path),
        FrameFolder(path) if kinds["img"] else None,
        FlowFolder(path) if kinds["flow_x"] or kinds["flow_y"] else None,
        frames_per_s=0.0,
    )
