import numpy as np
import pytest

from tests.builders import FLOAT32_TOLERANCE, max_relative_error, random_floats
from tsnd_builder.errors import LayerError


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 4), (3, 2, 4, 5)], ids=str)
def test_each_row_gets_the_length_one(run_layer, shape):
    x = 5.0 * random_floats(1, *shape)

    actual = run_layer("Normalize", "", x)

    expected = np.stack([row / np.sqrt((row**2).sum()) for row in x.astype(np.float64)])
    assert max_relative_error(actual, expected) < FLOAT32_TOLERANCE


def test_a_bottom_without_rows_is_refused(load_layer):
    with pytest.raises(LayerError, match=r"\(Normalize\): .*\['N'\]; it needs rows to normalize"):
        load_layer("Normalize", "", (1,))
