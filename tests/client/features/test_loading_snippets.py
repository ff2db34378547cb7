"""The snippets of docs/features.md load what `tsn extract` writes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.features.test_stores import settings, video
from tsnd_client import Modality
from tsnd_client.features.store import FORMATS, open_store

DOCUMENT = Path(__file__).parents[3] / "docs" / "features.md"
SNIPPETS = dict(
    re.findall(r"^```python (\w+)\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
)


def test_every_format_has_a_snippet():
    assert sorted(SNIPPETS) == sorted(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_documented_snippet_loads_the_format(tmp_path, monkeypatch, name):
    store = open_store(tmp_path / "features", settings(name))
    written = video()
    store.write(written)
    store.finish(["v_one"])
    monkeypatch.chdir(tmp_path)

    found: dict[str, Any] = {}
    exec(SNIPPETS[name], found)

    rgb = written.arrays["features"][Modality.RGB]
    match name:
        case "npz":
            np.testing.assert_array_equal(found["rgb"], rgb)
            assert found["frames"] == 30
            np.testing.assert_allclose(found["starts_s"], np.arange(5) * 6 / 25)
        case "npy":
            np.testing.assert_array_equal(found["feats"], written.joined("features").T)
        case "csv":
            assert found["video_data"].shape == (100, 6)
            ends = found["video_data"][[0, -1]]
            np.testing.assert_allclose(ends, written.joined("scores")[[0, -1]], rtol=1e-6)
        case "parquet":
            np.testing.assert_array_equal(found["rgb"], rgb[:4])
        case _:
            np.testing.assert_array_equal(found["rgb"], rgb)
