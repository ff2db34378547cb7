from dataclasses import replace

import numpy as np
import pytest

from tsnd.v1 import model_pb2
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor

BATCH_TOLERANCE = 1e-6  # float32 sums may be ordered differently in another batch size


def test_each_snippet_of_a_batch_equals_the_same_snippet_alone(model, snippets_for):
    executor = OnnxRuntimeExecutor(model, max_batch_size=5, threads=1)
    snippets = snippets_for(5)

    together = executor.execute(snippets)
    alone = [executor.execute([snippet]) for snippet in snippets]

    for name, rows in together.items():
        expected = np.concatenate([results[name] for results in alone])
        np.testing.assert_allclose(rows, expected, rtol=0, atol=BATCH_TOLERANCE)


def test_results_of_one_batch_survive_the_next(model, snippets_for):
    executor = OnnxRuntimeExecutor(model, max_batch_size=2, threads=1)
    first, second = snippets_for(2)

    scores = executor.execute([first])["scores"]
    copy = scores.copy()
    executor.execute([second, second])

    np.testing.assert_array_equal(scores, copy)


def test_outputs_are_those_of_the_manifest(model, snippets_for):
    executor = OnnxRuntimeExecutor(model, max_batch_size=2, threads=1)

    results = executor.execute(snippets_for(2))

    expected = {o.name: (2, *o.shape) for o in model.manifest.outputs}
    assert {name: rows.shape for name, rows in results.items()} == expected
    assert all(rows.dtype == np.float32 for rows in results.values())


def test_a_graph_that_is_no_onnx_is_refused(model, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x07garbage")

    with pytest.raises(PackageError, match="cannot load"):
        OnnxRuntimeExecutor(replace(model, onnx_path=broken), max_batch_size=1, threads=1)


def test_a_graph_with_other_tensors_than_the_manifest_promises_is_refused(model):
    manifest = model_pb2.ModelManifest()
    manifest.CopyFrom(model.manifest)
    manifest.outputs[0].shape[0] += 1

    with pytest.raises(PackageError, match="its manifest promises"):
        OnnxRuntimeExecutor(replace(model, manifest=manifest), max_batch_size=1, threads=1)
