"""The GPU benchmark, on any libcuda, with an engine that computes in ONNX Runtime."""

import pytest

from benchmarks.gpu import Options, Row, main, measure, report
from tests.late_driver import find_late_driver
from tests.stand_in_engine import alive, stand_in_loader
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.model_store import Model, load_package

OPTIONS = Options(batch_size=4, slots=2, rounds=2, seconds=0.01)


@pytest.fixture
def driver():
    found = find_late_driver()
    if found is None:
        pytest.skip("needs a libcuda in a process of its own: make test-cuda")
    found.reset()
    return found


@pytest.fixture
def model(tiny_repository):
    package = load_package(tiny_repository / "tiny_rgb" / "1")
    artifact = next(
        a for a in package.manifest.artifacts if a.kind == pb.ARTIFACT_KIND_SERVING_ONNX
    )
    return Model(package.manifest, artifact, package.folder / artifact.file, "onnxruntime")


def test_both_ways_are_measured_in_every_round_and_freed(driver, model):
    (row,) = measure([model], OPTIONS, stand_in_loader(driver))

    assert len(row.bare) == len(row.executor) == OPTIONS.rounds
    assert min(row.bare + row.executor) > 0
    assert not any(driver.held().values())
    assert not alive


def test_a_plan_that_does_not_run_is_a_line_with_the_reason(driver, model):
    (row,) = measure([model], OPTIONS, stand_in_loader(driver, profiles=[(1, 2, 2)]))

    assert "exceeds the profiles" in row.problem


def test_the_table_has_a_line_for_each_plan_and_says_where(driver, capsys):
    rows = [
        Row("fp16 tensorrt", (100.0, 120.0), (90.0, 108.0)),
        Row("int8 tensorrt", problem="too old"),
    ]

    report(rows, OPTIONS)

    _, where, _, _, header, measured, failed = capsys.readouterr().out.splitlines()
    assert "compute capability" in where
    assert header.split()[0] == "plan"
    words = ["fp16", "tensorrt", "110", "(100..120)", "99", "(90..108)", "0.90", "40.40"]
    assert measured.split() == words
    assert failed.split() == ["int8", "tensorrt", "too", "old"]


@pytest.mark.skipif(find_late_driver() is not None, reason="here is a libcuda")
def test_without_a_gpu_it_says_so_and_succeeds(capsys):
    assert main([]) == 0

    assert "No NVIDIA GPU" in capsys.readouterr().out
