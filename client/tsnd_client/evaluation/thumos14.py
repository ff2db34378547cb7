"""Reads the annotations of THUMOS14: a folder with a text file per class."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tsnd_client.errors import EvaluationError
from tsnd_client.evaluation.annotations import Annotation, to_ground_truth
from tsnd_client.evaluation.columns import GroundTruth, Unit
from tsnd_client.evaluation.input_files import number, read_text, shown

_NOT_A_CLASS = "Ambiguous"


def read_thumos14(
    folder: Path, *, avoid: Path | None = None, durations_s: Mapping[str, float] | None = None
) -> GroundTruth:
    """Read `<class>_<subset>.txt` files of lines "video start end", in seconds.

    As when SSN's lists are made: "Ambiguous" is no class, so detections there are wrong; pairs of
    video and class on the avoid list are left out, and so is what starts after its video's end.

    Args:
        folder: `temporal_annotations_<subset>`.
        avoid: Lines "video class" that are not to be judged; None for
            `<subset>_avoid_videos.txt` beside the folder, if it is there.
        durations_s: Seconds by video id; None for those of `<subset>_durations.txt` beside the
            folder, if it is there.

    Returns:
        Spans in seconds, classes in alphabetical order.

    Raises:
        EvaluationError: A file cannot be read or has another form.
    """
    files = sorted(folder.glob("*_*.txt"))
    if not files:
        raise EvaluationError(
            f"{folder} has no annotation files: expected names like GolfSwing_test.txt."
        )
    subset = folder.name.removeprefix("temporal_annotations_")
    avoid = avoid or _beside(folder, f"{subset}_avoid_videos.txt")
    avoided = _avoided(avoid) if avoid else frozenset()
    if durations_s is None:
        beside = _beside(folder, f"{subset}_durations.txt")
        durations_s = read_durations(beside) if beside else {}
    left_out: Counter[str] = Counter()
    kept: list[Annotation] = []
    labels = [label for path in files if (label := _label(path)) != _NOT_A_CLASS]
    for path in files:
        for row in _annotations(path):
            reason = _reason_to_leave_out(row, avoided, durations_s)
            if reason:
                left_out[reason] += 1
            else:
                kept.append(row)
    return to_ground_truth(
        kept,
        labels,
        unit=Unit.SECONDS,
        durations_s=durations_s,
        left_out=left_out,
        source=str(folder),
    )


def read_durations(path: Path) -> dict[str, float]:
    """Read lengths of videos: the name of each file and its seconds, on a line each or on one.

    Returns:
        Seconds by video id, which is the name without its suffix.

    Raises:
        EvaluationError: The file cannot be read or has another form.
    """
    words = read_text(path).split()
    if len(words) % 2:
        raise EvaluationError(f"{path}: expected pairs of a video and its seconds, one is cut off.")
    return {
        name.partition(".")[0]: number(seconds, f"{path}: seconds of {shown(name)}")
        for name, seconds in zip(words[::2], words[1::2], strict=True)
    }


def _annotations(path: Path) -> Iterator[Annotation]:
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        what = f"{path}, line {line_number}"
        if len(words) != 3:
            raise EvaluationError(f"{what}: expected 'video start end', got {shown(line)}.")
        yield Annotation(words[0], _label(path), number(words[1], what), number(words[2], what))


def _reason_to_leave_out(
    row: Annotation, avoided: frozenset[tuple[str, ...]], durations_s: Mapping[str, float]
) -> str | None:
    if row.label == _NOT_A_CLASS:
        return "the label Ambiguous"
    if (row.video_id, row.label) in avoided:
        return "a place on the avoid list"
    if row.start > durations_s.get(row.video_id, row.start):
        return "a start after the video's end"
    return None


def _avoided(path: Path) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(line.split()) for line in read_text(path).splitlines())


def _label(path: Path) -> str:
    return path.stem.rpartition("_")[0]


def _beside(folder: Path, name: str) -> Path | None:
    path = folder.absolute().parent / name
    return path if path.is_file() else None
