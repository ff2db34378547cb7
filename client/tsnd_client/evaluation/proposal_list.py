"""Reads SSN's proposal lists: per video its instances and the proposals for it, as text.

A record follows each line that starts with "#": video, a, b (their product is the number of
frames), number of instances, lines "label start end", number of proposals, lines
"label best_iou overlap_self start end". Labels count from 1, 0 is background. In normalized lists
a = b = 1, and places are fractions of the video.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation.annotations import Annotation, to_ground_truth
from tsnd_client.evaluation.columns import GroundTruth, Unit
from tsnd_client.evaluation.input_files import number, read_text, shown, whole_number

_MOST_FRAMES = 1e9  # a year of video; more is a broken file


@dataclass(frozen=True, slots=True)
class ListedInstance:
    """An instance; places in frames, or fractions in a normalized list."""

    label: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ListedProposal:
    """A proposal.

    Attributes:
        label: The class of the instance that it overlaps most, from 1; 0 if none.
        best_iou: Its temporal IoU with that one.
        overlap_self: Their intersection over the proposal's own length.
        start: Frames, or a fraction.
        end: Likewise.
    """

    label: int
    best_iou: float
    overlap_self: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One record of a list.

    Attributes:
        video_id: Name of the video: its path's last part, without suffix.
        frames: Number of frames; 1 in a normalized list.
        instances: As listed.
        proposals: As listed.
    """

    video_id: str
    frames: int
    instances: tuple[ListedInstance, ...]
    proposals: tuple[ListedProposal, ...]


def read_proposal_list(path: Path) -> list[ListedVideo]:
    """Read a list, normalized or not.

    Raises:
        EvaluationError: The file cannot be read or has another form.
    """
    videos: list[ListedVideo] = []
    record: list[tuple[int, str]] = []
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.startswith("#"):
            record.append((line_number, line.strip()))
        elif record:
            videos.append(_parse(record, path))
            record = []
    if record:
        videos.append(_parse(record, path))
    if not videos:
        raise EvaluationError(f"{path} is empty: expected a proposal list.")
    return videos


def to_frames(video: ListedVideo, frames: int) -> ListedVideo:
    """Turn the fractions of a normalized list into frames, cutting off what is behind the point.

    Args:
        video: A record of a normalized list.
        frames: How many the video has.
    """
    return ListedVideo(
        video_id=video.video_id,
        frames=frames,
        instances=tuple(
            ListedInstance(row.label, int(row.start * frames), int(row.end * frames))
            for row in video.instances
        ),
        proposals=tuple(
            ListedProposal(
                row.label,
                row.best_iou,
                row.overlap_self,
                int(row.start * frames),
                int(row.end * frames),
            )
            for row in video.proposals
        ),
    )


def listed_ground_truth(
    videos: Sequence[ListedVideo],
    *,
    labels: Sequence[str] | None,
    durations_s: Mapping[str, float],
    source: str,
) -> GroundTruth:
    """Take the instances of a list as ground truth, as SSN's evaluation does.

    Places beyond the end of the video are cut off there, and instances that start there left out.

    Args:
        videos: The list.
        labels: Class names; None names each class by its number in the list.
        durations_s: Seconds by video id, where they are known.
        source: Where the list comes from, for messages.

    Returns:
        Spans in fractions of the video.

    Raises:
        EvaluationError: A label has no name, or there is no instance.
    """
    numbers = sorted({row.label for video in videos for row in video.instances})
    if labels is not None and numbers and not 1 <= numbers[0] <= numbers[-1] <= len(labels):
        raise EvaluationError(
            f"{source} has classes {numbers[0]} to {numbers[-1]}, and there are {len(labels)} "
            "class names. Name their file with --labels."
        )
    names = dict(enumerate(labels, 1)) if labels is not None else {n: str(n) for n in numbers}
    late = sum(row.start >= video.frames for video in videos for row in video.instances)
    return to_ground_truth(
        (
            Annotation(
                video.video_id,
                names[row.label],
                row.start / video.frames,
                min(row.end, video.frames) / video.frames,
            )
            for video in videos
            for row in video.instances
            if row.start < video.frames
        ),
        names.values(),
        unit=Unit.FRACTION,
        durations_s=durations_s,
        left_out={"a start after the video's end": late} if late else {},
        source=source,
    )


def _parse(record: Sequence[tuple[int, str]], path: Path) -> ListedVideo:
    lines = _Lines(record, path)
    name = PurePosixPath(lines.next("a video")[0]).stem
    if not name:
        raise EvaluationError(f"{lines.place}: expected the name of a video.")
    frames = lines.number("a factor of the frames") * lines.number("a factor of the frames")
    if not 1 <= frames < _MOST_FRAMES:
        raise EvaluationError(
            f"{lines.place}: the video has {frames:g} frames, expected 1 or more."
        )
    instances = [lines.row("label start end") for _ in range(lines.count("instances"))]
    proposals = [
        lines.row("label best_iou overlap_self start end") for _ in range(lines.count("proposals"))
    ]
    lines.expect_end()
    return ListedVideo(
        video_id=name,
        frames=int(frames),
        instances=tuple(ListedInstance(label, *places) for label, places in instances),
        proposals=tuple(ListedProposal(label, *places) for label, places in proposals),
    )


class _Lines:
    """The lines of one record, handed out one after the other; blank ones are passed over."""

    def __init__(self, record: Sequence[tuple[int, str]], path: Path) -> None:
        self._rest: Iterator[tuple[int, str]] = (row for row in record if row[1])
        self._path = path
        self.place = f"{path}, line {record[0][0]}"

    def next(self, what: str) -> tuple[str, str]:
        """Take a line, and say where it is."""
        line_number, line = next(self._rest, (0, ""))
        if not line:
            raise EvaluationError(f"{self.place}: the record ends where {what} should follow.")
        self.place = f"{self._path}, line {line_number}"
        return line, self.place

    def expect_end(self) -> None:
        """Refuse lines that no count speaks of."""
        line_number, line = next(self._rest, (0, ""))
        if line:
            raise EvaluationError(
                f"{self._path}, line {line_number}: expected the end of the record after as many "
                f"lines as it counts, got {shown(line)}."
            )

    def number(self, what: str) -> float:
        return number(*self.next(what))

    def count(self, what: str) -> int:
        line, place = self.next(f"the number of {what}")
        return whole_number(line, f"{place}: number of {what}")

    def row(self, form: str) -> tuple[int, list[float]]:
        """Take a label and the numbers behind it."""
        line, place = self.next(f"'{form}'")
        words = line.split()
        if len(words) != len(form.split()):
            raise EvaluationError(f"{place}: expected '{form}', got {shown(line)}.")
        label = whole_number(words[0], f"{place}: label")
        return label, [number(word, place) for word in words[1:]]
