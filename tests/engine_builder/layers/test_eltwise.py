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


def bottoms_of(count, shape):
    return [random_floats(seed, *shape) for seed in range(count)]


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize(
    ("settings", "coefficients"),
    [
        ("", (1.0, 1.0)),
        ("operation: SUM", (1.0, 1.0, 1.0)),
        ("operation: SUM coeff: [1, -1]", (1.0, -1.0)),
        ("coeff: [0.5, 1, 0]", (0.5, 1.0, 0.0)),
        ("operation: STOCHASTIC_SUM", (1.0, 1.0)),
        ("operation: STOCHASTIC_SUM coeff: [0.25, 3]", (0.25, 3.0)),
    ],
)
def test_bottoms_are_added_with_their_coefficients(run_layer, settings, coefficients, shape):
    bottoms = bottoms_of(len(coefficients), shape)

    actual = run_layer("Eltwise", f"eltwise_param {{ {settings} }}", *bottoms)

    terms = [c * b.astype(np.float64) for c, b in zip(coefficients, bottoms, strict=True)]
    assert max_relative_error(actual, sum(terms)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(("operation", "combine"), [("PROD", np.multiply), ("MAX", np.maximum)])
def test_bottoms_are_multiplied_or_compared(run_layer, operation, combine, count):
    bottoms = bottoms_of(count, (3, 4, 2))

    actual = run_layer("Eltwise", f"eltwise_param {{ operation: {operation} }}", *bottoms)

    expected = bottoms[0].astype(np.float64)
    for bottom in bottoms[1:]:
        expected = combine(expected, bottom)
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize(("operation", "expected"), [("SUM", 2.0), ("PROD", 1.0), ("MAX", 1.0)])
def test_one_blob_may_be_all_its_bottoms(tmp_path, operation, expected):
    settings = f"eltwise_param {{ operation: {operation} }}"
    text = net(layer("e", "Eltwise", "data data", "e", settings), data=(1, 3))

    actual = run_net(tmp_path, text, {"data": np.ones((2, 3), np.float32)})["e"]

    np.testing.assert_array_equal(actual, np.full((2, 3), expected))


@pytest.mark.parametrize(
    ("settings", "shapes", "reason"),
    [
        ("", [(1, 3)], r"it has 1 bottom\(s\); a Eltwise takes at least 2"),
        ("", [(1, 3), (1, 4)], r"shapes \['N', 3\], \['N', 4\]; they must be the same"),
        ("", [(1, 3, 1), (1, 3)], "they must be the same"),
        ("", [(1, 3), (1, 1)], "they must be the same"),
        ("operation: PROD coeff: [1, 2]", [(1, 3)] * 2, "which only a sum takes"),
        ("operation: MAX coeff: [1, 2]", [(1, 3)] * 2, "which only a sum takes"),
        ("coeff: [1, 2, 3]", [(1, 3)] * 2, "it has 3 coefficients for 2 bottoms"),
        ("coeff: 1", [(1, 3)] * 2, "it has 1 coefficients for 2 bottoms"),
    ],
)
def test_bottoms_and_coefficients_that_do_not_fit_are_refused(load_layer, settings, shapes, reason):
    with pytest.raises(LayerError, match=rf"layer 'it' \(Eltwise\): .*{reason}"):
        load_layer("Eltwise", f"eltwise_param {{ {settings} }}", *shapes)
