"""The real Python bindings of TensorRT over empty libraries: every name, and no engine.

They need nine C functions, of which these return 0. So a class or enum can be looked at on
any machine, for each version of TensorRT; a Builder or Runtime cannot be made.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

WHEELS = Path(__file__).parents[1] / ".cache" / "tensorrt-bindings"
"""Where `make tensorrt-bindings` puts them."""

_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
_LOOK_UP = """
import functools, json, os, sys, warnings
warnings.simplefilter("ignore")
import tensorrt_bindings as trt
def exists(name):
    try:
        functools.reduce(getattr, name.split("."), trt)
    except AttributeError:
        return False
    return True
missing = [name for name in json.load(sys.stdin) if not exists(name)]
print(json.dumps({"version": trt.__version__, "missing": missing}), flush=True)
os._exit(0)  # the bindings' own clean-up would call into the libraries
"""


def wheel_of(major: int) -> Path | None:
    """Return the bindings of a major version of TensorRT for this Python, if they are here."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = sorted(WHEELS.glob(f"tensorrt_cu13_bindings-{major}.*-{python}-*.whl"))
    return found[0] if found else None


def missing_names(wheel: Path, names: Iterable[str], folder: Path) -> tuple[str, list[str]]:
    """Look names such as `BuilderFlag.TF32` up in bindings.

    Args:
        wheel: The bindings.
        names: What to look up, in the module.
        folder: An empty folder to unpack to.

    Returns:
        The bindings' version, and the names that they do not have.
    """
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    major = wheel.name.split("-")[1].partition(".")[0]
    _build_libraries(folder, major)
    done = subprocess.run(
        [sys.executable, "-c", _LOOK_UP],
        input=json.dumps(sorted(names)),
        env={**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    return answer["version"], answer["missing"]


def compile_library(source: str, target: Path) -> None:
    """Compile C code into a shared library."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(target), "-"],
        input=source,
        text=True,
        check=True,
    )


def _build_libraries(folder: Path, major: str) -> None:
    library = folder / "stub.so"
    compile_library("".join(f"long {name}() {{ return 0; }}\n" for name in _FUNCTIONS), library)
    for name in _LIBRARIES:
        shutil.copyfile(library, folder / f"lib{name}.so.{major}")
