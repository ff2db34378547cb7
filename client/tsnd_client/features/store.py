"""Where features of videos are kept: a folder with an entry per video, each whole or absent.

So a run that was stopped, however hard, goes on where it was; what lies there then is, byte for
byte, what one run would have left.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tsnd_client.atomic import remove_leftovers, replacing
from tsnd_client.errors import InputError, MissingExtra, OutputError
from tsnd_client.features.video_features import VideoFeatures

SETTINGS_FILE = "extract.json"

_MODULES = {
    "npy": "numpy_files",
    "npz": "numpy_files",
    "csv": "csv_files",
    "hdf5": "hdf5_files",
    "parquet": "parquet_files",
    "zarr": "zarr_store",
}
FORMATS = tuple(_MODULES)
"""Names of the formats."""


class FeatureStore(Protocol):
    """One format's way of keeping videos in a folder."""

    def has(self, name: str) -> bool:
        """Return whether a video is there, whole."""

    def write(self, video: VideoFeatures) -> None:
        """Put a video there, whole or not at all."""

    def finish(self, names: Sequence[str]) -> None:
        """Write what belongs to all videos together, once they are there."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What all videos of a store have in common; a store with other settings is another one.

    Attributes:
        format: One of `FORMATS`.
        outputs: Names of the outputs, in order.
        interval: Frames from one tick to the next.
        models: By modality, NAME:VERSION of what scored them.
        flow: How flow was computed, where it was.
    """

    format: str
    outputs: tuple[str, ...]
    interval: int
    models: Mapping[str, str]
    flow: str = ""


def open_store(folder: Path, settings: StoreSettings) -> FeatureStore:
    """Open a folder of features, or make one.

    Args:
        folder: Made if it is not there.
        settings: What is going to be kept there.

    Raises:
        InputError: The folder keeps something else.
        MissingExtra: The format needs a package that is not installed.
        OutputError: The folder cannot be written to.
    """
    make = _maker(settings.format)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        _settle(folder / SETTINGS_FILE, settings)
    except OSError as err:
        raise OutputError(
            f"cannot write to {folder}: {err.strerror}. Name a folder that takes new files."
        ) from err
    return make(folder, settings)


def _maker(name: str) -> Callable[[Path, StoreSettings], FeatureStore]:
    if name not in _MODULES:
        raise InputError(f"there is no format {name!r}: choose {', '.join(FORMATS)}.")
    try:
        module = import_module(f"tsnd_client.features.{_MODULES[name]}")
    except ImportError as err:
        raise MissingExtra(
            f"the format {name} needs a package that is not there ({err}): "
            "pip install 'tsnd[features]'"
        ) from err
    make: Callable[[Path, StoreSettings], FeatureStore] = module.make_store
    return make


def _settle(path: Path, settings: StoreSettings) -> None:
    """Write the settings into a new store; compare them with those of one that is there."""
    wanted = json.loads(json.dumps(asdict(settings)))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        with replacing(path) as file:
            file.write(json.dumps(wanted, indent=2, ensure_ascii=False).encode() + b"\n")
        return
    except ValueError:
        found = None
    if found != wanted:
        raise InputError(
            f"{path.parent} keeps features of other settings: {_differences(found, wanted)}. "
            "Name another folder, or delete that one."
        )


def _differences(found: object, wanted: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return f"{SETTINGS_FILE} cannot be read"
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} {found.get(name)}, not {wanted.get(name)}" for name in names)
