"""Results of the original code, kept beside the checkout; tests that use them skip without."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

TSN = Path(__file__).parents[3] / "shared" / "golden" / "tsn"


def arrays(topic: str) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Read every .npz of a topic: the arrays by name, by the file's name."""
    return {path.name: dict(np.load(path)) for path in _files(topic, "*.npz")}


def records(topic: str) -> dict[str, Mapping[str, Any]]:
    """Read every .json of a topic, by the file's name."""
    return {path.name: json.loads(path.read_text()) for path in _files(topic, "*.json")}


def _files(topic: str, pattern: str) -> list[Path]:
    folder = TSN / topic
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: these results come with the shared files")
    manifest = json.loads((TSN / "MANIFEST.json").read_text())
    found = sorted(folder.glob(pattern))
    promised = {name for name in manifest["topics"][topic]["files"] if Path(name).match(pattern)}
    assert promised <= {path.name for path in found}
    return found
