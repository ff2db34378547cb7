"""Which videos a data set tests with, and what each shows: from its own files to values.

UCF101    testlist01.txt: Class/video.avi; beside it classInd.txt: number from 1, class
HMDB51    class_test_split1.txt, one file per class: video.avi, 1 to train, 2 to test, 0 neither
Kinetics  validate.csv: label,youtube_id,time_start,time_end,split
TSN       val_rgb_split1.txt: folder, frames, number of the class from 0
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.errors import InputError

_CLASS_INDEX = "classInd.txt"
_UCF101_FILE = re.compile(r"testlist(\d+)\.txt")
_HMDB51_FILE = re.compile(r"(.+)_test_split(\d+)\.txt")
_HMDB51_TEST = "2"
_TSN_LINE = re.compile(r"(.+)\s+\d+\s+(\d+)")
_KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A video of a data set.

    Attributes:
        file: Its file or folder as the data set names it, relative to where its videos are.
        label: Its class: a name, or where the data set has numbers alone, one from 0.
    """

    file: str
    label: str | int


@dataclass(frozen=True, slots=True)
class Split:
    """One way of a data set to test.

    Attributes:
        name: What it is called.
        videos: The videos to test with, in the order of the file.
        classes: All classes in the data set's own order; empty when it has none.
    """

    name: str
    videos: tuple[LabelledVideo, ...]
    classes: tuple[str, ...] = ()


def read_splits(path: Path) -> list[Split]:
    """Read one split file, or all splits in a folder.

    Raises:
        InputError: It cannot be read, is of no known form, or names no video.
    """
    try:
        splits = _read_folder(path) if path.is_dir() else [_read_file(path)]
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not a split file: expected text in UTF-8.") from err
    except OSError as err:
        raise InputError(f"{err.filename or path} cannot be read: {err.strerror}.") from err
    for split in splits:
        if not split.videos:
            raise InputError(f"split {split.name} of {path} names no video to test with.")
    return splits


def _read_folder(folder: Path) -> list[Split]:
    files = sorted(each for each in folder.iterdir() if each.is_file())
    ucf101 = [_read_file(each) for each in files if _UCF101_FILE.fullmatch(each.name)]
    hmdb51 = defaultdict[str, list[tuple[str, Path]]](list)
    for each in files:
        if match := _HMDB51_FILE.fullmatch(each.name):
            hmdb51[match[2]].append((match[1], each))
    splits = ucf101 + [_read_hmdb51(number, hmdb51[number]) for number in sorted(hmdb51)]
    if not splits:
        raise InputError(
            f"{folder} has neither testlist01.txt (UCF101) nor CLASS_test_split1.txt (HMDB51). "
            "Name a split file."
        )
    return splits


def _read_hmdb51(number: str, files: Sequence[tuple[str, Path]]) -> Split:
    videos = [
        LabelledVideo(f"{label}/{line.split()[0]}", label)
        for label, path in files
        for line in _lines(path)
        if line.split()[-1] == _HMDB51_TEST
    ]
    return Split(f"split{number}", tuple(videos), tuple(label for label, _ in files))


def _read_file(path: Path) -> Split:
    lines = _lines(path)
    if not lines:
        return Split(path.stem, ())
    if "youtube_id" in lines[0]:
        return Split(path.stem, tuple(_kinetics_videos(path, lines)))
    if all(_TSN_LINE.fullmatch(line) for line in lines):
        return Split(path.stem, tuple(map(_tsn_video, lines)))
    return Split(
        path.stem,
        tuple(_ucf101_video(path, line) for line in lines),
        _class_index(path.with_name(_CLASS_INDEX)),
    )


def _kinetics_videos(path: Path, lines: Sequence[str]) -> Iterator[LabelledVideo]:
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            label, clip, start, end = (row[column] for column in _KINETICS_COLUMNS)
            span = f"{int(float(start)):06d}_{int(float(end)):06d}"
        except (KeyError, TypeError, ValueError) as err:
            raise InputError(
                f"line {number} of {path} is not of Kinetics: expected the columns "
                f"{', '.join(_KINETICS_COLUMNS)}."
            ) from err
        yield LabelledVideo(f"{label}/{clip}_{span}.mp4", label)


def _tsn_video(line: str) -> LabelledVideo:
    match = _TSN_LINE.fullmatch(line)
    assert match is not None  # the caller has looked
    return LabelledVideo(match[1], int(match[2]))


def _ucf101_video(path: Path, line: str) -> LabelledVideo:
    file = line.split(maxsplit=1)[0]
    if "/" not in file:
        raise InputError(
            f"{path} has the line {line!r}, of no known form. Expected Class/video.avi (UCF101), "
            "'folder frames class' (TSN) or a csv of Kinetics; of HMDB51 name the folder."
        )
    return LabelledVideo(file, file.split("/")[0])


def _class_index(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    numbered = [line.split() for line in _lines(path)]
    try:
        return tuple(name for _, name in sorted((int(number), name) for number, name in numbered))
    except ValueError as err:
        raise InputError(f"{path} is not of UCF101: expected lines as '1 ApplyEyeMakeup'.") from err


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def class_numbers(split: Split, labels: Sequence[str]) -> list[int]:
    """Find the class of each video among a model's.

    By name where the model has all the names, whatever their capitals and spaces. Otherwise by
    the data set's own order, where the model has as many classes.

    Args:
        split: The split.
        labels: The model's labels.

    Returns:
        One number from 0 for each video.

    Raises:
        InputError: Neither is possible, or a number is out of range.
    """
    given = [video.label for video in split.videos]
    by_name = {_plain(label): index for index, label in enumerate(labels)}
    own_order = {_plain(label): index for index, label in enumerate(split.classes)}
    names = [label for label in given if isinstance(label, str)]
    order: Mapping[str, int] = by_name
    if len(own_order) == len(labels) and any(_plain(name) not in by_name for name in names):
        order = own_order
    return [
        _number(label, len(labels)) if isinstance(label, int) else _named(label, order, labels)
        for label in given
    ]


def _named(label: str, order: Mapping[str, int], labels: Sequence[str]) -> int:
    if _plain(label) not in order:
        raise InputError(
            f"class {label!r} is none of the model's {len(labels)}, such as {labels[0]!r}. Build "
            "the model with the data set's labels."
        )
    return order[_plain(label)]


def _number(label: int, classes: int) -> int:
    if label >= classes:
        raise InputError(f"class number {label} is none of the model's, 0 to {classes - 1}.")
    return label


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower())


def locate(file: str, root: Path) -> Path:
    """Find a video of a data set, as a file or as a folder of images.

    Args:
        file: As `LabelledVideo.file`.
        root: Where the data set's videos or folders of images are, with the folders of its
            classes or without.

    Returns:
        Where it is; where it should be, when it is nowhere.
    """
    places = list(_places(Path(file)))
    return next((root / each for each in places if (root / each).exists()), root / places[0])


def _places(file: Path) -> Iterable[Path]:
    yield from (file, file.with_suffix(""), Path(file.name), Path(file.stem))
