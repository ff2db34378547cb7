"""What the library needs of others, seen by an interpreter that has little."""

import subprocess
import sys

import pytest

import tsnd_client

# Of the daemon, the builder, the extras, and of the command line.
BLOCKED = (
    "tsnd_daemon tsnd_builder onnx onnxruntime openvino tensorrt pycuda prometheus_client pydantic "
    "pydantic_settings uvloop simplejpeg pynvml grpc_reflection opentelemetry av cv2 tqdm "
    "matplotlib h5py pyarrow zarr typer rich torch"
)

BLOCK = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED.split()!r}:
            raise ModuleNotFoundError(f"{{name}} is not here", name=name)

sys.meta_path.insert(0, Block())
"""


def run(program):
    return subprocess.run(
        [sys.executable, "-c", BLOCK + program], capture_output=True, text=True, check=False
    )


def test_every_name_of_the_library_needs_the_base_dependencies_alone():
    done = run(
        "import tsnd_client\n"
        "found = {name: getattr(tsnd_client, name) for name in tsnd_client.__all__}\n"
        "with found['Client']('127.0.0.1:1') as client: print(client.health().serving)\n"
        "print(len(found))"
    )

    assert done.stderr == ""
    assert done.stdout.split() == ["False", str(len(tsnd_client.__all__))]


def test_importing_the_library_loads_no_other_package():
    done = run(
        "before = set(sys.modules)\n"
        "import tsnd_client\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )

    assert done.stdout == "['tsnd_client']\n"


@pytest.mark.parametrize("module", ["tsnd_client.sources.open", "tsnd_client.images"])
def test_without_the_extra_video_files_are_refused_with_the_remedy(module):
    done = run(f"import {module}")

    assert "pip install 'tsnd[video]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", tsnd_client.__all__)
def test_every_public_name_is_there_documented_and_listed(name):
    found = getattr(tsnd_client, name)

    assert name in dir(tsnd_client)
    if callable(found):
        assert found.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        getattr(tsnd_client, "Clint")  # noqa: B009 -- mypy knows that it is not there
