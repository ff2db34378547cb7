from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.executions import run
from tsnd.v1 import model_pb2
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor, open_session

BATCH_TOLERANCE = 1e-6  # float32 sums may be ordered differently in another batch size


@pytest.fixture
def executor(model):
    return OnnxRuntimeExecutor(model, open_session(model, threads=1), max_batch_size=5)


def test_each_snippet_of_a_batch_equals_the_same_snippet_alone(executor, snippets_for):
    snippets = snippets_for(5)

    together = run(executor, snippets)
    alone = [run(executor, [snippet]) for snippet in snippets]

    for name, rows in together.items():
        expected = np.concatenate([results[name] for results in alone])
        np.testing.assert_allclose(rows, expected, rtol=0, atol=BATCH_TOLERANCE)


def test_results_of_one_batch_survive_the_next(executor, snippets_for):
    first, second = snippets_for(2)

    scores = run(executor, [first])["scores"]
    copy = scores.copy()
    run(executor, [second, second])

    np.testing.assert_array_equal(scores, copy)


def test_outputs_are_those_of_the_manifest(model, executor, snippets_for):
    results = run(executor, snippets_for(2))

    expected = {o.name: (2, *o.shape) for o in model.manifest.outputs}
    assert {name: rows.shape for name, rows in results.items()} == expected
    assert all(rows.dtype == np.float32 for rows in results.values())


@pytest.mark.parametrize("arena", [True, False])
def test_executors_in_different_threads_share_a_session(model, snippets_for, arena):
    session, snippets = open_session(model, threads=2, arena=arena), snippets_for(8)
    expected = run(OnnxRuntimeExecutor(model, session, max_batch_size=8), snippets)["scores"]

    def score(snippet):
        return run(OnnxRuntimeExecutor(model, session, max_batch_size=1), [snippet])["scores"]

    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(score, snippets)))

    np.testing.assert_allclose(found, expected, rtol=0, atol=BATCH_TOLERANCE)


def test_closing_one_executor_leaves_the_session_to_the_others(model, snippets_for):
    session = open_session(model, threads=1)
    closed, open_ = (OnnxRuntimeExecutor(model, session, max_batch_size=1) for _ in range(2))

    closed.close()

    assert run(open_, snippets_for(1))["scores"].shape[0] == 1


def test_a_graph_that_is_no_onnx_is_refused(model, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x07garbage")

    with pytest.raises(PackageError, match="cannot load"):
        open_session(replace(model, path=broken), threads=1)


def test_a_graph_with_other_tensors_than_the_manifest_promises_is_refused(model):
    manifest = model_pb2.ModelManifest()
    manifest.CopyFrom(model.manifest)
    manifest.outputs[0].shape[0] += 1

    with pytest.raises(PackageError, match="its manifest promises"):
        open_session(replace(model, manifest=manifest), threads=1)
