"""The way in: snippets for INT8 calibration from a video, or a folder of them.

PyAV and OpenCV are imported when it is called and not before, so the program runs without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tsnd_builder.calibration.choosing import NamedVideo, Skips, choose, take
from tsnd_builder.calibration.sampling import SNIPPETS_PER_VIDEO
from tsnd_builder.calibration.snippets import Pixels, SnippetSpec
from tsnd_builder.calibration.sources import find_videos
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality
from tsnd_builder.shown import shown

Report = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class VideosRead:
    """Where calibration frames come from.

    Attributes:
        used: Names of the videos, as seen from the folder that was named.
        skipped: Names of those that cannot be used.
        left_out: How many were not needed.
        ignored: How many files beside them are no videos.
    """

    used: tuple[str, ...]
    skipped: tuple[str, ...]
    left_out: int
    ignored: int


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationSet:
    """Snippets that stand for what a model will see.

    They are ordered by video and, within each, by time. So `frames[0::2]` and
    `frames[1::2]` have no snippet in common and both go through all the videos: one half
    can calibrate, the other measure.

    Attributes:
        frames: uint8, as clients send them: [n, H, W, 3] BGR for rgb; for flow
            [n, 2 * stack_depth, H, W], planes x, y, x, y, ...
        videos: Where they come from.
    """

    frames: Pixels
    videos: VideosRead


def calibration_frames(
    path: Path,
    *,
    modality: Modality,
    frame_height: int,
    frame_width: int,
    stack_depth: int,
    snippets: int,
    snippets_per_video: int = SNIPPETS_PER_VIDEO,
    report: Report,
) -> CalibrationSet:
    """Sample snippets from videos by the rule of TSN's test.

    The same videos give the same snippets. Where TSN takes a short video's first snippet
    many times over, it is taken once.

    Args:
        path: A video file, a folder of images, or a folder of such (see `sources`).
        modality: What the model takes.
        frame_height: Pixels of the images or flow fields that the model takes.
        frame_width: Likewise.
        stack_depth: Flow fields per snippet; of no meaning for rgb.
        snippets: How many to return at most. When the videos have more, each gives about
            as many as any other, evenly over its time; when there are more videos than
            snippets, so many of them give one each, evenly over all.
        snippets_per_video: How many TSN's rule draws from a video.
        report: Told which videos are skipped and what takes long, a line each.

    Raises:
        CalibrationError: Nothing usable is there, the one video that was named is not
            usable, or PyAV or OpenCV is missing.
        ValueError: A number is less than 1.
    """
    spec = SnippetSpec(modality, frame_height, frame_width, stack_depth)
    _require_positive(snippets, snippets_per_video, frame_height, frame_width, spec.depth)
    videos, is_single, ignored = _find(path, spec, report)
    skips = Skips(report, is_allowed=not is_single)
    candidates = choose(
        videos, spec, snippets=snippets, snippets_per_video=snippets_per_video, skips=skips
    )
    frames, used = take(candidates, spec, snippets=snippets, skips=skips)
    if not used:
        first_reason = next(iter(skips.reasons.values()))
        raise CalibrationError(
            f"none of the {len(videos)} video(s) in {shown(path)} can be used; one of the "
            f"reasons: {first_reason}"
        )
    left_out = len(videos) - len(used) - len(skips.reasons)
    return CalibrationSet(frames, VideosRead(used, tuple(sorted(skips.reasons)), left_out, ignored))


def _find(path: Path, spec: SnippetSpec, report: Report) -> tuple[list[NamedVideo], bool, int]:
    """Find videos; returns them, whether the path itself is the only one, and other files."""
    try:
        from tsnd_builder.calibration.videos import open_video, require_decoders  # noqa: PLC0415
    except ImportError as err:
        raise CalibrationError(
            f"calibration reads videos with packages that are not there ({err}): "
            "pip install 'tsnd[calibration]'"
        ) from err
    sources = find_videos(path)
    require_decoders(sources, spec.modality)
    videos = [
        NamedVideo(_name(source, path), partial(open_video, source, spec, report))
        for source in sources.paths
    ]
    return videos, sources.is_single, sources.ignored


def _name(source: Path, root: Path) -> str:
    """Name a video as seen from the folder that was named, or by its own name."""
    is_root = source == root
    return shown(root.absolute().name if is_root else source.relative_to(root).as_posix())


def _require_positive(*numbers: int) -> None:
    if min(numbers) < 1:
        raise ValueError(f"sizes and numbers of snippets must be at least 1, got {min(numbers)}")
