"""A folder of one video's frames and flow as dense_flow writes it, that can be gone on with.

Each image appears whole or not at all, and a number counts as done when its three images are
there. What they were computed of and how is kept beside them in flow.json, so that a folder
never mixes two kinds of flow.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tsnd_client.errors import OutputError
from tsnd_client.images import Pixels, encode_jpeg

RECIPE_NAME = "flow.json"

_DONE = re.compile(r"(img|flow_x|flow_y)_([0-9]{5,})\.jpg")
_PARTIAL = re.compile(r"\..+\.([0-9]+)\.partial")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the flow of a folder is computed of, and how.

    Attributes:
        video: File name of the video.
        video_bytes: Its size, which tells whether it is still the same.
        fields: How many fields it has, which is one less than frames.
        algorithm: tvl1, dis or farneback.
        bound: The largest displacement that is told apart, pixels.
        width: Width of the images, pixels; 0: that of the video.
        height: Height of the images, pixels; 0: that of the video.
    """

    video: str
    video_bytes: int
    fields: int
    algorithm: str
    bound: float
    width: int
    height: int


class FlowStore:
    """Where the images of one video go.

    Args:
        folder: Made when the first image is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recipe(self) -> Recipe | None:
        """Read what the folder was begun with; None of a new one.

        Raises:
            OutputError: The folder has flow.json, but not of ours, or images without it.
        """
        path = self.folder / RECIPE_NAME
        try:
            return Recipe(**json.loads(path.read_text()))
        except FileNotFoundError:
            if self.done():
                raise OutputError(
                    f"{self.folder} has images already, but no {RECIPE_NAME} that says how they "
                    "were computed. Name another folder, or remove it."
                ) from None
            return None
        except (OSError, ValueError, TypeError) as err:
            raise OutputError(
                f"{path} cannot be read as what `tsn flow` wrote: {err}. Remove the folder to "
                "begin anew."
            ) from err

    def begin(self, recipe: Recipe) -> None:
        """Make the folder, or make sure that it was begun with the same recipe.

        Raises:
            OutputError: It was begun with another one, or it cannot be written to.
        """
        before = self.recipe()
        self._remove_partial()
        if before is None:
            self._write(RECIPE_NAME, json.dumps(asdict(recipe), indent=2).encode())
        elif before != recipe:
            old, new = asdict(before), asdict(recipe)
            key = next(key for key in new if old[key] != new[key])
            raise OutputError(
                f"{self.folder} was begun with {key} {old[key]}, not {new[key]}. Name another "
                "folder, or remove it to begin anew."
            )

    def done(self) -> set[int]:
        """Number the fields whose three images are all there."""
        kinds: dict[int, int] = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    match = _DONE.fullmatch(entry.name)
                    if match and entry.stat().st_size:
                        kinds[int(match[2])] = kinds.get(int(match[2]), 0) + 1
        except FileNotFoundError:
            pass
        except OSError as err:
            raise OutputError(f"{self.folder} cannot be listed: {err.strerror}.") from err
        return {number for number, count in kinds.items() if count == 3}

    def missing(self, fields: Iterable[int]) -> list[int]:
        """Say which of some fields are not done, ascending."""
        done = self.done()
        return sorted(number for number in fields if number not in done)

    def write(self, number: int, bgr: Pixels, planes: Pixels) -> None:
        """Write the frame and the field of a number, which is the later frame's.

        Args:
            number: From 1.
            bgr: uint8 [H, W, 3].
            planes: uint8 [2, H, W], x and y.

        Raises:
            OutputError: It cannot be written.
        """
        for kind, pixels in (("flow_x", planes[0]), ("flow_y", planes[1]), ("img", bgr)):
            self._write(f"{kind}_{number:05d}.jpg", encode_jpeg(pixels))

    def _remove_partial(self) -> None:
        """Remove what runs left that were killed while they wrote."""
        for path in self.folder.glob(".*.partial"):
            match = _PARTIAL.fullmatch(path.name)
            if match and not _is_running(int(match[1])):
                path.unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        # TSN's tools count whatever begins with img_ or flow_.
        partial = self.folder / f".{name}.{os.getpid()}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(content)
                partial.replace(self.folder / name)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as err:
            raise OutputError(
                f"cannot write {self.folder / name}: {err.strerror}. Name a folder that takes new "
                "files."
            ) from err


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no process at all
        pass
    return True
