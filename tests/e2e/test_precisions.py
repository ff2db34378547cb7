"""Every precision and CPU executor behind real gRPC gives what its graph gives."""

import importlib.util
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.builders import max_relative_error, random_bytes
from tests.daemons import running_daemon
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.lowering import Calibration, make_half, make_int8
from tsnd_builder.manifest import read_manifest
from tsnd_builder.package import add_to_package
from tsnd_builder.serving_graph import Modality
from tsnd_client import AsyncClient, SnippetScores

SHAPE = (16, 21, 3)
PRECISIONS = {
    "fp32": pb.PRECISION_FP32,
    "fp16": pb.PRECISION_FP16,
    "int8": pb.PRECISION_INT8,
}
# ONNX Runtime computes the same in any batch. OpenVINO rounds FP16 at other places, and
# its INT8 sums saturate at others on processors without VNNI.
SAME = 1e-5
OPENVINO_TOLERANCE = {"fp32": 2e-5, "fp16": 1e-2, "int8": 0.15}

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed: make engines"
)


@pytest.fixture(scope="module")
def repository(tiny_repository, tmp_path_factory):
    """A repository with `tiny_rgb` in all precisions."""
    folder = tmp_path_factory.mktemp("precisions")
    package = shutil.copytree(tiny_repository / "tiny_rgb" / "1", folder / "tiny_rgb" / "1")
    model = onnx.load(package / "model.onnx")
    calibration = Calibration(random_bytes(3, 16, *SHAPE), (), max_drop=1.0)
    int8 = make_int8(model, calibration, lambda line: None)
    add_to_package(package, [make_half(model, Modality.RGB), *int8])
    return folder


def scores_of_graph(repository, precision, frames):
    package = repository / "tiny_rgb" / "1"
    (file,) = (
        a.file
        for a in read_manifest(package).artifacts
        if (a.kind, a.precision) == (pb.ARTIFACT_KIND_SERVING_ONNX, PRECISIONS[precision])
    )
    session = onnxruntime.InferenceSession(package / file, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"snippets": frames})[0]


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.parametrize("precision", list(PRECISIONS))
async def test_the_daemon_answers_what_the_graph_of_the_precision_gives(
    repository, backend, precision
):
    frames = random_bytes(4, 20, *SHAPE)
    snippets = ((str(i), frame) for i, frame in enumerate(frames))

    async with running_daemon(repository, backend=backend, precision=precision) as daemon:
        async with AsyncClient(daemon.endpoints.grpc) as client:
            stream = client.score_stream(await client.model("tiny_rgb"), snippets)
            results = [result async for result in stream]

    scores = np.stack([r.scores for r in results if isinstance(r, SnippetScores)])
    expected = scores_of_graph(repository, precision, frames)
    tolerance = SAME if backend == "onnxruntime" else OPENVINO_TOLERANCE[precision]
    assert max_relative_error(scores, expected) <= tolerance
