import numpy as np
import pytest

from tsnd_daemon.executors.onnxruntime import OnnxRuntimeExecutor

pytest.importorskip("openvino", reason="OpenVINO is not installed: make engines")
from tsnd_daemon.executors.openvino import OpenVinoExecutor

FLOAT32_TOLERANCE = 2e-5  # of the largest value: the same sums in another order


@pytest.mark.parametrize("size", [1, 2, 5])
def test_any_batch_size_gives_what_onnx_runtime_gives(model, size, snippets_for):
    snippets = snippets_for(size)

    found = OpenVinoExecutor(model, max_batch_size=5, threads=2).execute(snippets)
    expected = OnnxRuntimeExecutor(model, max_batch_size=5, threads=2).execute(snippets)

    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        tolerance = FLOAT32_TOLERANCE * np.abs(rows).max()
        np.testing.assert_allclose(found[name], rows, rtol=0, atol=tolerance)


def test_results_of_one_batch_survive_the_next(model, snippets_for):
    executor = OpenVinoExecutor(model, max_batch_size=2, threads=1)
    first, second = snippets_for(2)

    scores = executor.execute([first])["scores"]
    copy = scores.copy()
    executor.execute([second, second])

    np.testing.assert_array_equal(scores, copy)
