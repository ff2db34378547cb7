import numpy as np
import pytest

from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.tensors import check_tensors, fill, input_buffer


def shapes_of(model):
    outputs = {o.name: list(o.shape) for o in model.manifest.outputs}
    return {model.manifest.input.name: list(model.manifest.input.shape)}, outputs


def test_a_graph_may_give_more_than_promised(model):
    inputs, outputs = shapes_of(model)

    check_tensors(model, inputs, {**outputs, "more": [3]})


def test_a_graph_that_takes_or_gives_something_else_is_refused(model):
    inputs, outputs = shapes_of(model)

    with pytest.raises(PackageError, match="its manifest promises"):
        check_tensors(model, {**inputs, "more": [3]}, outputs)
    with pytest.raises(PackageError, match="its manifest promises"):
        check_tensors(model, inputs, {name: outputs[name] for name in list(outputs)[1:]})


def test_a_batch_fills_the_first_rows_of_a_buffer(model, snippets_for):
    buffer, snippets = input_buffer(model, 4), snippets_for(3)

    batch = fill(buffer, snippets)

    assert batch.shape[0] == 3
    assert np.shares_memory(batch, buffer)
    np.testing.assert_array_equal(batch, [snippet.pixels for snippet in snippets])
    assert not buffer[3].any()
