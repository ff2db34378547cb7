"""The examples, run as their readers run them: programs of their own, at a real daemon."""

import json
import os
import re
import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.processes import address_in, tsnd

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = "tiny_rgb"
FRAMES = 30


@pytest.fixture(scope="module")
def target(tiny_repository):
    arguments = ["--model-repository", str(tiny_repository), "--backend", "onnxruntime"]
    with tsnd(*arguments, "--compute-threads", "1") as (_, line):
        yield address_in(line)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 8 * index, np.uint8), format="bgr24"
            )
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_file_is_classified(target, video):
    lines = run(EXAMPLES / "classify_file.py", video, MODEL, target)

    probabilities = [float(line.split("%")[0]) for line in lines]
    assert len(lines) == 5
    assert sum(probabilities) == pytest.approx(100, abs=0.5)
    assert probabilities == sorted(probabilities, reverse=True)


def test_a_camera_is_streamed(target, video):
    lines = run(EXAMPLES / "stream_camera.py", video, MODEL, target)

    assert [line.split()[0] for line in lines] == ["000000", "000006", "000012", "000018", "000024"]


def test_features_are_extracted_in_a_data_set(target, video):
    lines = run(EXAMPLES / "feature_dataset.py", MODEL, target, video, video)

    assert len(lines) == 2
    name, snippets, _ = lines[0].split()
    assert (name, int(snippets)) == ("video.mp4", 5)


@pytest.fixture
def dataset(target, video):
    made = runpy.run_path(str(EXAMPLES / "feature_dataset.py"))
    data = made["FeatureDataset"]([video, video], MODEL, target=target)
    yield data
    for client in data._clients.values():
        client.close()


def test_the_data_set_gives_arrays_of_features(dataset):
    features = dataset[1]

    assert len(dataset) == 2
    assert (features.dtype, features.ndim, len(features)) == (np.float32, 2, 5)
    np.testing.assert_allclose(features, dataset[0], rtol=1e-4, atol=1e-5)


def test_the_data_set_takes_no_connection_to_another_process(dataset):
    dataset[0]

    assert dataset._clients
    assert dataset.__getstate__()["_clients"] == {}


def test_pytorch_loads_the_data_set_with_worker_processes(dataset):
    torch_data = pytest.importorskip("torch.utils.data", reason="PyTorch is not installed")

    loader = torch_data.DataLoader(dataset, num_workers=2, batch_size=None)

    assert [len(features) for features in loader] == [5, 5]


def test_the_notebook_runs_from_its_first_cell_to_its_last(target, video, tmp_path):
    notebook = json.loads((EXAMPLES / "classify_file.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    program = tmp_path / "notebook.py"
    program.write_text("\n\n".join("".join(cell["source"]) for cell in cells))

    lines = run(program, TSND_TARGET=target, TSND_MODEL=MODEL, TSND_VIDEO=str(video))

    assert "serving=True" in lines[0]
    assert f"scores ({FRAMES // 5}, 5) features ({FRAMES // 5}, " in "\n".join(lines)
    assert len([line for line in lines if " s  " in line]) == FRAMES // 5


def test_the_notebook_is_committed_without_outputs():
    notebook = json.loads((EXAMPLES / "classify_file.ipynb").read_text())

    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_guide_of_the_library_runs_from_its_first_line_to_its_last(target, video, tmp_path):
    guide = (EXAMPLES.parent / "docs" / "client.md").read_text()
    program = "\n\n".join(re.findall(r"```python\n(.*?)```", guide, re.DOTALL))
    for name, ours in {
        "127.0.0.1:8001": target,
        "kinetics_rgb": MODEL,
        "video.mp4": str(video),
    }.items():
        assert name in program
        program = program.replace(name, ours)
    (tmp_path / "guide.py").write_text(program + "\nclient.close()\n")

    lines = run(tmp_path / "guide.py")

    assert "serving=True" in lines[0]
    assert [line.split()[0] for line in lines[-3:]] == ["0", "1", "2"]
