"""Finds the videos that a path stands for, from names alone; nothing is opened.

A file is one video. A folder is one video when it holds images of dense_flow, or images and
nothing that could be a video itself. Any other folder holds videos: files, folders of images,
and folders of these once more, as data sets with a folder per class have them.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tsnd_builder.errors import CalibrationError
from tsnd_builder.shown import shown

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg"),
        *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv"),
        *(".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
DENSE_FLOW = re.compile(r"(img|flow_x|flow_y)_([0-9]+)\.[a-z]+", re.IGNORECASE)
"""Names of dense_flow's images: kind and number, of as many digits as you like."""

_LEVELS = 2


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: names, sorted."""

    images: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def is_one_video(self) -> bool:
        """Whether its images are those of one video."""
        if any(DENSE_FLOW.fullmatch(name) for name in self.images):
            return True
        return bool(self.images) and not self.videos and not self.folders


@dataclass(frozen=True, slots=True)
class Sources:
    """The videos that a path stands for.

    Attributes:
        paths: Files and folders of images, in order of their names.
        is_single: Whether the path itself is the video.
        ignored: Files beside them that are no videos.
    """

    paths: tuple[Path, ...]
    is_single: bool
    ignored: int = 0


def find_videos(path: Path) -> Sources:
    """Find the videos at a path.

    Raises:
        CalibrationError: There is nothing, or nothing that could be a video.
    """
    mode = _mode(path)
    if stat.S_ISREG(mode):
        return Sources((path,), is_single=True)
    if not stat.S_ISDIR(mode):
        raise CalibrationError(f"{shown(path)} is a pipe or device. Name a video or a folder.")
    if list_folder(path).is_one_video:
        return Sources((path,), is_single=True)
    walk = _Walk()
    walk.enter(path, _LEVELS)
    if not walk.paths:
        raise CalibrationError(
            f"{shown(path)} holds no video and no folder of images, nor do its folders and theirs "
            f"({walk.ignored} other files). Videos end in {', '.join(sorted(VIDEO_SUFFIXES))}."
        )
    return Sources(tuple(sorted(walk.paths)), is_single=False, ignored=walk.ignored)


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder; one that nobody may look at is none."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def list_folder(folder: Path) -> Folder:
    """List a folder; hidden entries count as others.

    Raises:
        CalibrationError: It cannot be listed.
    """
    listed = Folder()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                _kind(entry, listed).append(entry.name)
    except OSError as err:
        raise CalibrationError(f"{shown(folder)} cannot be listed: {err.strerror}.") from err
    return listed


@dataclass(slots=True)
class _Walk:
    """What was found on the way through folders, each of which is entered once."""

    paths: list[Path] = field(default_factory=list)
    ignored: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)

    def enter(self, folder: Path, levels: int) -> None:
        try:
            status = folder.stat()
            listed = list_folder(folder)
        except (OSError, CalibrationError):
            self.paths.append(folder)  # whoever reads it will find out, and say why
            return
        identity = (status.st_dev, status.st_ino)
        if identity in self.seen:  # by a link to here, or to a folder above
            return
        self.seen.add(identity)
        if listed.is_one_video:
            self.paths.append(folder)
            return
        self.paths += [folder / name for name in listed.videos]
        self.ignored += len(listed.images) + len(listed.others)
        for name in listed.folders if levels else ():
            self.enter(folder / name, levels - 1)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as err:  # ValueError: a null character in the name
        reason = err.strerror if isinstance(err, OSError) else err
        raise CalibrationError(f"{shown(path)}: {reason}. Name a video or a folder.") from err


def _kind(entry: "os.DirEntry[str]", listed: Folder) -> list[str]:
    """Choose the list where an entry belongs."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 -- a path per image is slow
    try:
        if entry.name.startswith("."):
            return listed.others
        if entry.is_dir():
            return listed.folders
        is_file = entry.is_file()
    except OSError:  # such as a link to itself
        return listed.others
    if is_file and suffix in IMAGE_SUFFIXES:
        return listed.images
    return listed.videos if is_file and suffix in VIDEO_SUFFIXES else listed.others
