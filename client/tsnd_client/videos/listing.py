"""Which videos a user means by a folder or a list, and what each is called."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tsnd_client.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
    }
)

_IMAGE_PREFIXES = ("img_", "flow_x_")


def find_videos(path: Path, root: Path | None = None) -> list[tuple[str, Path]]:
    """Find the videos of a folder, however deep, or of a list.

    A folder's videos are its video files, by their suffix, and its folders of dense_flow's
    images. A list is a text file with a path on each line, relative to `root`; empty lines and
    those that begin with # count for nothing.

    Args:
        path: The folder or list.
        root: Where the paths of a list start; by default the list's own folder.

    Returns:
        Pairs of name and path, by name: a file's name without its suffix, a folder's whole.

    Raises:
        InputError: It cannot be read, there is no video, or two have the same name.
    """
    if path.is_dir():
        paths = list(_in_folder(path))
    else:
        paths = [(root or path.parent) / line for line in _lines(path)]
    if not paths:
        raise InputError(
            f"{path} has no videos. Name a folder with some in it, or a text file with a path on "
            "each line."
        )
    return sorted((name_of(each), each) for each in _distinct(paths))


def name_of(path: Path) -> str:
    """Return what a video is called: a file's name without its suffix, a folder's whole."""
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _in_folder(folder: Path) -> Iterator[Path]:
    for parent, _, files in os.walk(folder, onerror=_refuse):
        if any(name.startswith(_IMAGE_PREFIXES) for name in files):
            yield Path(parent)
        yield from (
            Path(parent, name) for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES
        )


def _refuse(err: OSError) -> None:
    raise InputError(f"{err.filename} cannot be listed: {err.strerror}.") from err


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as err:
        raise InputError(
            f"{path} is not a list: expected a text file in UTF-8 with the path of a video on each "
            "line, or a folder."
        ) from err
    except OSError as err:
        raise InputError(f"the list {path} cannot be read: {err.strerror}.") from err
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _distinct(paths: Iterable[Path]) -> list[Path]:
    """Refuse videos of the same name: what is written of one would replace the other's."""
    by_name = defaultdict[str, list[Path]](list)
    for path in paths:
        by_name[name_of(path)].append(path)
    for name, same in by_name.items():
        if len(same) > 1:
            raise InputError(
                f"{len(same)} videos are called {name!r}, such as {same[0]} and {same[1]}. Results "
                "are kept by name: leave one out, or rename it."
            )
    return [path for same in by_name.values() for path in same]
