import numpy as np

from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.model_store import load_models
from tsnd_daemon.snippets import Snippet


def test_scores_are_the_first_pixels_of_each_snippet(tiny_repository):
    model = load_models(tiny_repository)["tiny_rgb"]
    shape = tuple(model.manifest.input.shape)
    rng = np.random.default_rng(3)
    snippets = [Snippet(str(i), rng.integers(0, 256, shape, dtype=np.uint8)) for i in range(3)]

    results = SyntheticExecutor(model).execute(snippets)

    lengths = {o.name: o.shape[0] for o in model.manifest.outputs}
    assert {name: rows.shape for name, rows in results.items()} == {
        name: (3, length) for name, length in lengths.items()
    }
    for row, snippet in zip(results["scores"], snippets, strict=True):
        np.testing.assert_array_equal(row, snippet.pixels.ravel()[: lengths["scores"]])
