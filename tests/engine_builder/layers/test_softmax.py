import numpy as np
import pytest

from tests.builders import (
    FLOAT32_TOLERANCE,
    layer,
    max_relative_error,
    net,
    random_floats,
    run_net,
)
from tsnd_builder.errors import LayerError


def softmax(x, axis):
    powers = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(
    ("settings", "axis", "shape"),
    [
        ("", 1, (3, 5)),
        ("", 1, (2, 3, 4, 5)),
        ("softmax_param { axis: 1 }", 1, (2, 3, 4)),
        ("softmax_param { axis: 2 }", 2, (2, 3, 4, 5)),
        ("softmax_param { axis: -1 engine: CAFFE }", 3, (2, 3, 4, 5)),
        ("softmax_param { axis: -2 }", 1, (2, 3, 4)),
    ],
)
def test_the_axis_alone_is_normalized(run_layer, settings, axis, shape):
    x = 3.0 * random_floats(1, *shape)

    actual = run_layer("Softmax", settings, x)

    assert max_relative_error(actual, softmax(x, axis)) < FLOAT32_TOLERANCE


def test_large_scores_do_not_overflow(run_layer):
    x = np.array([[1000.0, 999.0, -1000.0]], np.float32)

    actual = run_layer("Softmax", "", x)

    assert max_relative_error(actual, softmax(x, 1)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("softmax_param { axis: 2 }", r"axis 2 does not exist"),
        ("softmax_param { axis: -3 }", r"axis -3 does not exist"),
    ],
)
def test_an_axis_that_does_not_exist_is_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Softmax\): .*{reason}"):
        load_layer("Softmax", settings, (1, 3))


@pytest.mark.parametrize("axis", [0, -2])
def test_along_the_batch_it_converts_for_the_prototxts_batch_size(tmp_path, axis):
    x = random_floats(1, 4, 3)
    text = net(layer("s", "Softmax", "data", "s", f"softmax_param {{ axis: {axis} }}"), data=(4, 3))

    actual = run_net(tmp_path, text, {"data": x})["s"]

    assert max_relative_error(actual, softmax(x, 0)) < FLOAT32_TOLERANCE
