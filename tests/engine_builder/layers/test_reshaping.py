import pytest

from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.layers.reshaping import (
    batches_in,
    check_same_size,
    infer_dim,
    multiple_of_batch,
)


@pytest.mark.parametrize(("count", "name"), [(1, "N"), (2, "2N"), (15, "15N")])
def test_a_multiple_of_the_batch_has_a_name_that_can_be_read_back(count, name):
    assert multiple_of_batch(count) == name
    assert batches_in(name) == count


@pytest.mark.parametrize(
    ("bottom", "others", "length"),
    [
        (("N", 3, 4), ("N",), 12),
        (("N", 3, 4), (12,), "N"),
        (("N", 3, 4), (), "12N"),
        (("6N", 4), ("3N",), 8),
        (("6N", 4), (8,), "3N"),
        ((2, 6), (3,), 4),
        ((2, 6), (12,), 1),
        ((), (), 1),
    ],
)
def test_a_length_is_inferred_from_the_others(bottom, others, length):
    assert infer_dim(bottom, others) == length


@pytest.mark.parametrize(
    ("bottom", "others", "error"),
    [
        (("N", 3), (2,), BatchDependent),
        (("N", 3), ("2N",), LayerError),
        ((6,), ("N",), BatchDependent),
        (("N", 6), ("N", "N"), BatchDependent),
        (("N", 6), ("N", 4), LayerError),
        ((6,), (4,), LayerError),
        ((6,), (0,), LayerError),
    ],
)
def test_a_length_that_is_no_whole_number_is_refused(bottom, others, error):
    with pytest.raises(LayerError, match=r"cannot be reshaped to \[.*-1\]") as caught:
        infer_dim(bottom, others)

    assert caught.type is error


@pytest.mark.parametrize(
    "shape", [("N", 12), ("12N",), ("2N", 6), (1, "N", 3, 4), (1, 1, "12N"), ("N", 12, 1)]
)
def test_a_shape_that_keeps_rows_apart_is_taken(shape):
    check_same_size(("N", 3, 4), shape)


@pytest.mark.parametrize(
    ("bottom", "shape", "error"),
    [
        (("N", 12), (2, "6N"), BatchDependent),
        (("N", 12), (1, 2, "6N"), BatchDependent),
        (("N", 12), (24,), BatchDependent),
        ((24,), ("N", 12), BatchDependent),
        (("N", 12), ("N", 11), LayerError),
        ((24,), (5, 5), LayerError),
    ],
)
def test_a_shape_that_joins_rows_or_loses_elements_is_refused(bottom, shape, error):
    with pytest.raises(LayerError, match="cannot be reshaped") as caught:
        check_same_size(bottom, shape)

    assert caught.type is error
