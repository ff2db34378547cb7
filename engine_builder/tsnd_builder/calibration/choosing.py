"""Takes snippets from many videos, some of which may be broken: as many as asked for, spread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np

from tsnd_builder.calibration.sampling import snippet_ticks
from tsnd_builder.calibration.sharing import share_out, spread, spread_order
from tsnd_builder.calibration.snippets import Pixels, SnippetSpec, Video, read_snippets
from tsnd_builder.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class NamedVideo:
    """A video before anything of it is read.

    Attributes:
        name: What it is called in messages and results.
        open: Opens it; raises CalibrationError when that fails.
    """

    name: str
    open: Callable[[], Video]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A video that can be read, as far as is known.

    Attributes:
        place: Its place among all videos.
        name: What it is called.
        video: The video.
        count: How many images or flow fields it has.
        ticks: Where its snippets start; no two are the same.
    """

    place: int
    name: str
    video: Video
    count: int
    ticks: tuple[int, ...]


@dataclass(slots=True)
class Skips:
    """Videos that cannot be used.

    Attributes:
        report: Told the reason for each.
        is_allowed: Whether to go on without them; else the first one is an error.
        reasons: By the name of each.
    """

    report: Callable[[str], object]
    is_allowed: bool
    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def unless_usable(self, name: str) -> Iterator[None]:
        """Skip a video when what is done with it fails."""
        try:
            yield
        except CalibrationError as err:
            if not self.is_allowed:
                raise
            self.reasons[name] = str(err)
            self.report(f"skipped: {err}")


def choose(
    videos: Sequence[NamedVideo],
    spec: SnippetSpec,
    *,
    snippets: int,
    snippets_per_video: int,
    skips: Skips,
) -> list[Candidate]:
    """Open and count videos, until there is one for every snippet.

    Only as many are opened as are needed: counting decodes them.

    Returns:
        Usable videos, in their order, spread evenly over all.
    """
    chosen: list[Candidate] = []
    for place in spread_order(len(videos)):
        if len(chosen) == snippets:
            break
        name = videos[place].name
        with skips.unless_usable(name):
            video = videos[place].open()
            count = video.count()
            ticks = snippet_ticks(count, stack_depth=spec.depth, snippets=snippets_per_video)
            chosen.append(Candidate(place, name, video, count, tuple(sorted(set(ticks)))))
    return sorted(chosen, key=lambda candidate: candidate.place)


def take(
    candidates: Sequence[Candidate], spec: SnippetSpec, *, snippets: int, skips: Skips
) -> tuple[Pixels, tuple[str, ...]]:
    """Read each video's share of the snippets.

    Memory for all of them is taken once. A video that breaks off half-way gives its part
    of it back.

    Returns:
        uint8 [n, *spec.shape], by video and then by time, and the names of the videos
        that they are from.
    """
    shares = share_out([len(candidate.ticks) for candidate in candidates], snippets)
    frames = np.empty((sum(shares), *spec.shape), np.uint8)
    filled, used = 0, []
    for candidate, share in zip(candidates, shares, strict=True):
        with skips.unless_usable(candidate.name):
            _read_into(frames[filled : filled + share], candidate, spec)
            filled += share
            used.append(candidate.name)
    return frames[:filled], tuple(used)


def _read_into(rows: Pixels, candidate: Candidate, spec: SnippetSpec) -> None:
    """Fill the rows with a video's snippets, spread evenly over its time."""
    ticks = spread(candidate.ticks, len(rows))
    with closing(read_snippets(candidate.video, ticks, count=candidate.count, spec=spec)) as read:
        for row, snippet in zip(rows, read, strict=True):
            row[...] = snippet
