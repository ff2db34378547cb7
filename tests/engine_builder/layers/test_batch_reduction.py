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


def settings_of(reduction, others=""):
    return f"batch_reduction_param {{ reduction_param {{ {reduction} }} {others} }}"


def reduce(x, axis, function):
    """Apply a function to each line along one axis, and drop the axis."""
    lines = np.moveaxis(x.astype(np.float64), axis, -1)
    out = np.empty(lines.shape[:-1])
    for index in np.ndindex(*out.shape):
        out[index] = function(lines[index])
    return out


def mean_of_largest(count):
    return lambda line: sum(sorted(line)[-count:]) / count


@pytest.mark.parametrize(
    ("reduction", "function"),
    [
        ("operation: SUM", np.sum),
        ("operation: MEAN", np.mean),
        ("operation: TOPK", mean_of_largest(1)),
        ("operation: TOPK k: 2", mean_of_largest(2)),
        ("operation: TOPK k: 4", mean_of_largest(4)),
    ],
)
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 4), 1), ((2, 4, 3), 1), ((2, 3, 4, 5), 2), ((2, 3, 5, 4), -1)]
)
def test_one_axis_is_reduced(run_layer, reduction, function, shape, axis):
    x = random_floats(1, *shape)

    actual = run_layer("BatchReduction", settings_of(f"{reduction} axis: {axis}", "level: 1"), x)

    assert max_relative_error(actual, reduce(x, axis, function)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("reduction", "function"),
    [("", np.sum), ("operation: MEAN axis: -2", np.mean), ("operation: TOPK k: 3", None)],
)
def test_along_the_batch_it_converts_for_the_prototxts_batch_size(tmp_path, reduction, function):
    x = random_floats(1, 5, 3)
    text = net(layer("b", "BatchReduction", "data", "b", settings_of(reduction)), data=(5, 3))

    actual = run_net(tmp_path, text, {"data": x})["b"]

    expected = reduce(x, 0, function or mean_of_largest(3))
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (settings_of("axis: 1", "level: 2"), "several levels; only the default, level 1"),
        (settings_of("axis: 1", "level: [1, 2]"), "several levels"),
        (settings_of("axis: 1", "pos: true"), "several levels"),
        (settings_of("axis: 1 operation: ASUM"), "operation must be SUM, MEAN or TOPK"),
        (settings_of("axis: 1 operation: SUMSQ"), "operation must be SUM, MEAN or TOPK"),
        (settings_of("axis: 1 coeff: 2"), "it has a coefficient"),
        (settings_of("axis: 1 operation: TOPK k: 0"), "its k 0 must be from 1 to .* length 6"),
        (settings_of("axis: 1 operation: TOPK k: 7"), "its k 7 must be from 1 to .* length 6"),
        (settings_of("axis: 2"), "axis 2 does not exist"),
    ],
)
def test_what_is_not_converted_is_refused(load_layer, settings, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(BatchReduction\): .*{reason}"):
        load_layer("BatchReduction", settings, (1, 6))
