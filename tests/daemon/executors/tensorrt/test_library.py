"""What is loaded of TensorRT-RTX here is real: its runtime reads plans without a GPU."""

import hashlib
import importlib.util
import logging
import threading

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError, SettingsError
from tsnd_daemon.executors.tensorrt.checks import Gpu
from tsnd_daemon.executors.tensorrt.library import Log, load_engine
from tsnd_daemon.model_store import Model

GPU = Gpu(0, "Stand-in", "9.0")
GRAPH = "a" * 64


def model_of(path, **plan):
    artifact = pb.Artifact(
        file=path.name,
        kind=pb.ARTIFACT_KIND_PLAN,
        plan=pb.Plan(
            **{"backend": "tensorrt-rtx", "hardware_compatibility": "none", "source_sha256": GRAPH}
            | plan
        ),
    )
    graph = pb.Artifact(kind=pb.ARTIFACT_KIND_SERVING_ONNX, sha256=GRAPH)
    manifest = pb.ModelManifest(name="tiny", artifacts=[graph, artifact])
    return Model(manifest, artifact, path, "tensorrt-rtx")


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: make engines")


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "tiny.plan"
    path.write_bytes(hashlib.sha256(b"no plan").digest() * 64)
    return path


def test_what_is_no_plan_is_refused_with_what_the_library_says(rtx, plan_file):
    model = model_of(plan_file, backend_version=rtx.__version__)

    with pytest.raises(PackageError) as caught:
        load_engine(model, GPU)

    said = str(caught.value)
    assert f"TensorRT-RTX {rtx.__version__} does not load {plan_file}: " in said
    assert "Run tsn-build plan again" in said
    assert "it does not say why" not in said


def test_a_plan_of_another_version_is_refused_before_it_is_loaded(rtx, plan_file):
    model = model_of(plan_file, backend_version="1.0.0")

    with pytest.raises(PackageError) as caught:
        load_engine(model, GPU)

    assert "does not run on GPU 0 (Stand-in): it was built by tensorrt-rtx 1.0.0" in str(
        caught.value
    )
    assert f"and here is {rtx.__version__}" in str(caught.value)


def test_a_plan_of_a_graph_that_the_package_no_longer_has_is_refused(rtx, plan_file):
    model = model_of(plan_file, backend_version=rtx.__version__, source_sha256="b" * 64)

    with pytest.raises(PackageError, match="has been replaced since"):
        load_engine(model, GPU)


def test_a_backend_that_is_not_known_is_refused(plan_file):
    with pytest.raises(PackageError, match="knows tensorrt, tensorrt-rtx"):
        load_engine(model_of(plan_file, backend="tensorrt-lean"), GPU)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="it is installed")
def test_a_library_that_is_not_installed_is_named_with_its_extra(plan_file):
    with pytest.raises(SettingsError, match=r"pip install 'tsnd\[gpu,tensorrt\]'"):
        load_engine(model_of(plan_file, backend="tensorrt"), GPU)


def test_errors_are_given_once_to_the_thread_that_met_them():
    log = Log()
    log.hear("ERROR", "out of\n  memory")
    log.hear("ERROR", "out of memory")
    others = []
    thread = threading.Thread(target=lambda: others.append(log.complaints()))
    thread.start()
    thread.join()

    assert others == ["it does not say why"]
    assert log.complaints() == "out of memory"
    assert log.complaints() == "it does not say why"


def test_errors_that_nobody_asks_for_do_not_pile_up():
    log = Log()

    for number in range(1000):
        log.hear("ERROR", f"error {number}")

    kept = log.complaints().split("; ")
    assert kept[-1] == "error 999"
    assert len(kept) < 100


def test_warnings_go_to_the_log(caplog):
    with caplog.at_level(logging.INFO):
        Log().hear("WARNING", "slow")
        Log().hear("INFO", "chatter")

    assert caplog.messages == ["slow"]
