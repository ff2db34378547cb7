from dataclasses import replace

import numpy as np

from tests.executions import run
from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.snippets import Snippet


def test_scores_are_the_first_pixels_of_each_snippet(model, snippets_for):
    snippets = snippets_for(3)

    results = run(SyntheticExecutor(model), snippets)

    lengths = {o.name: o.shape[0] for o in model.manifest.outputs}
    assert {name: rows.shape for name, rows in results.items()} == {
        name: (3, length) for name, length in lengths.items()
    }
    for row, snippet in zip(results["scores"], snippets, strict=True):
        np.testing.assert_array_equal(row, snippet.pixels.ravel()[: lengths["scores"]])


def test_a_snippet_with_fewer_pixels_than_scores_begins_again(model):
    small = replace(model, manifest=pb.ModelManifest.FromString(model.manifest.SerializeToString()))
    small.manifest.input.shape[:] = [3]

    results = run(SyntheticExecutor(small), [Snippet("small", np.array([7, 8, 9], np.uint8))])

    np.testing.assert_array_equal(results["scores"], [[7, 8, 9, 7, 8]])


def test_batches_in_different_slots_keep_apart(model, snippets_for):
    executor = SyntheticExecutor(model, slots=2)
    first, second = snippets_for(2)

    executor.start(0, [first])
    executor.start(1, [second, second])

    assert executor.finish(0)["scores"][0, 0] == first.pixels.flat[0]
    assert executor.finish(1)["scores"].shape[0] == 2
