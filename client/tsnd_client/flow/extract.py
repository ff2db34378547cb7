"""The flow of whole videos into folders: what `tsn flow` does, for programs as well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.errors import InputError
from tsnd_client.flow.computed import ComputedFlow, Size
from tsnd_client.flow.store import FlowStore, Recipe
from tsnd_client.flow.workers import FlowPool
from tsnd_client.sources.video_file import VideoFile


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of one video.

    Attributes:
        folder: Where its images are.
        fields: How many fields it has.
        computed: How many of them were missing, and are there now.
        broken: Frames of it that could not be decoded; a neighbour stands in for each.
    """

    folder: Path
    fields: int
    computed: int
    broken: int


def extract_flow(
    video: Path,
    folder: Path,
    pool: FlowPool,
    *,
    size: Size | None,
    advance: Callable[[int], object] = lambda _: None,
) -> Extracted:
    """Compute what a folder lacks of a video's frames and flow.

    Args:
        video: The file.
        folder: Where the images go; what is there already is left alone.
        pool: What computes.
        size: Width and height of the images, pixels; None: those of the video.
        advance: Told how many fields are done, as they are.

    Raises:
        VideoError: The video cannot be read, or has fewer than two frames.
        OutputError: The folder cannot be written to, or holds flow of another kind.
        FlowFailed: A process that computes ended.
    """
    store = FlowStore(folder)
    before = store.recipe()
    with VideoFile(video) as source, ComputedFlow(source, pool, size) as flow:
        # A folder that was begun before tells how many fields there are.
        known = before is not None and before == _recipe(video, before.fields, pool, size)
        count = before.fields if before and known else len(flow.indices)
        store.begin(_recipe(video, count, pool, size))
        missing = store.missing(range(1, count + 1))
        advance(count - len(missing))
        for bgr, field in flow.pairs_at(missing):
            store.write(field.index, bgr, field.planes)
            advance(1)
        return Extracted(folder, count, len(missing), source.counters.broken)


def folders_for(videos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Give every video a folder of its own, named like the video.

    Raises:
        InputError: Two videos would have the same folder.
    """
    folders: dict[Path, Path] = {}
    for video in videos:
        folder = out / video.stem
        other = next((seen for seen, theirs in folders.items() if theirs == folder), None)
        if other is not None and other != video:
            raise InputError(
                f"{other} and {video} would both go to {folder}. Rename one, or write it elsewhere."
            )
        folders[video] = folder
    return folders


def _recipe(video: Path, fields: int, pool: FlowPool, size: Size | None) -> Recipe:
    width, height = size or (0, 0)
    try:
        video_bytes = video.stat().st_size
    except OSError as err:
        raise InputError(f"{video} cannot be read: {err.strerror}.") from err
    return Recipe(
        video=video.name,
        video_bytes=video_bytes,
        fields=fields,
        algorithm=str(pool.algorithm),
        bound=pool.bound,
        width=width,
        height=height,
    )
