"""One folder of images: dense_flow's `img_`, `flow_x_` and `flow_y_`, or any images in order."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsnd_builder.calibration.image_files import read_bgr, read_grey
from tsnd_builder.calibration.resizing import resize
from tsnd_builder.calibration.snippets import Pixels, SnippetSpec
from tsnd_builder.calibration.sources import DENSE_FLOW, list_folder
from tsnd_builder.errors import CalibrationError
from tsnd_builder.serving_graph import Modality
from tsnd_builder.shown import shown


@dataclass(frozen=True, slots=True)
class RgbImages:
    """A video as image files, one or more; a `Video`."""

    files: Sequence[Path]
    spec: SnippetSpec

    def count(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def read(self, indices: Sequence[int]) -> Generator[Pixels, None, None]:
        """Read and resize images."""
        for index in indices:
            image = read_bgr(self.files[index - 1])
            yield resize(image, self.spec.frame_height, self.spec.frame_width)


@dataclass(frozen=True, slots=True)
class FlowImages:
    """A video as quantised flow fields in files, one or more pairs; a `Video`."""

    x_files: Sequence[Path]
    y_files: Sequence[Path]
    spec: SnippetSpec

    def count(self) -> int:
        """Return the number of flow fields."""
        return len(self.x_files)

    def read(self, indices: Sequence[int]) -> Generator[Pixels, None, None]:
        """Read and resize flow fields; as TSN, their values stay as they are."""
        for index in indices:
            planes = (read_grey(files[index - 1]) for files in (self.x_files, self.y_files))
            height, width = self.spec.frame_height, self.spec.frame_width
            yield np.stack([resize(plane, height, width) for plane in planes])


def open_image_folder(folder: Path, spec: SnippetSpec) -> RgbImages | FlowImages:
    """Find the images or flow fields of a folder; none is opened yet.

    Raises:
        CalibrationError: It cannot be listed, or has none of the kind that is asked for.
    """
    names = list_folder(folder).images
    numbered = _numbered(names)
    if spec.modality is Modality.FLOW:
        return _flow_images(folder, numbered["flow_x"], numbered["flow_y"], spec)
    is_dense_flow = any(numbered.values())
    files = _in_order(folder, numbered["img"]) if is_dense_flow else [folder / n for n in names]
    if not files:
        what = "flow images, but no img_*.jpg beside them" if is_dense_flow else "no images"
        raise CalibrationError(f"{shown(folder)} has {what}. An rgb model needs frames.")
    return RgbImages(files, spec)


def _flow_images(
    folder: Path, x_names: dict[int, str], y_names: dict[int, str], spec: SnippetSpec
) -> FlowImages:
    if x_names.keys() != y_names.keys():
        lacking = min(x_names.keys() ^ y_names.keys())
        raise CalibrationError(
            f"{shown(folder)} has {len(x_names)} flow_x and {len(y_names)} flow_y images, expected "
            f"pairs: number {lacking} has one alone. Copy or compute them again."
        )
    if not x_names:
        raise CalibrationError(
            f"{shown(folder)} has no flow_x_*.jpg and flow_y_*.jpg. A flow model needs those, or "
            "a video file to compute them from."
        )
    return FlowImages(_in_order(folder, x_names), _in_order(folder, y_names), spec)


def _numbered(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Return the files of dense_flow by kind and number."""
    found: dict[str, dict[int, str]] = {"img": {}, "flow_x": {}, "flow_y": {}}
    for name in names:
        if match := DENSE_FLOW.fullmatch(name):
            found[match[1].lower()][int(match[2])] = name
    return found


def _in_order(folder: Path, names: dict[int, str]) -> list[Path]:
    return [folder / names[number] for number in sorted(names)]
