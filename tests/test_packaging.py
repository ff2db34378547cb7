import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"tsnd", "tsnd_builder", "tsnd_client", "tsnd_daemon"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel, built from a copy so that the checkout stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("protos", "engine_builder", "daemon", "client"):
        shutil.copytree(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(target), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = target.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_our_top_level_names_and_no_others(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}

    assert {top for top in tops if not top.endswith(".dist-info")} == OURS


def test_the_wheel_has_every_module_and_the_protos(wheel_names):
    roots = [ROOT / "protos", ROOT / "engine_builder", ROOT / "daemon", ROOT / "client"]
    files = [
        path.relative_to(root).as_posix()
        for root in roots
        for pattern in ("*.py", "*.proto", "py.typed")
        for path in root.rglob(pattern)
    ]

    assert set(files) <= set(wheel_names)
