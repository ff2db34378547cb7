import pytest

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.layers.spec import (
    PER_BOTTOM,
    LayerSpec,
    canonical_axis,
    fixed_dims,
    fixed_size,
    no_blobs,
    same_shapes,
)

SHAPE = ("N", 3, 4, 5)


@pytest.mark.parametrize(("axis", "canonical"), [(0, 0), (3, 3), (-1, 3), (-4, 0)])
def test_an_axis_may_count_from_the_end(axis, canonical):
    assert canonical_axis(axis, SHAPE) == canonical


@pytest.mark.parametrize("axis", [4, -5, 100])
def test_an_axis_that_does_not_exist_is_refused(axis):
    with pytest.raises(LayerError, match=rf"axis {axis} does not exist"):
        canonical_axis(axis, SHAPE)


def test_fixed_dims_are_those_behind_the_batch():
    assert fixed_dims(SHAPE, 1) == (3, 4, 5)
    assert fixed_size(SHAPE, 1) == 60
    assert fixed_size(SHAPE, 4) == 1


def test_an_open_axis_among_fixed_ones_is_refused():
    with pytest.raises(
        BatchDependent, match=r"mixes the batch axis of its bottom \['N', 3, 4, 5\]"
    ):
        fixed_dims(SHAPE, 0)


@pytest.mark.parametrize(
    ("bottoms", "tops", "reason"),
    [
        ([], ["t"], r"it has 0 bottom\(s\); a Two takes at least 2"),
        (["a"], ["t"], r"it has 1 bottom\(s\)"),
        (["a", "b", "c", "d"], ["t"], r"it has 4 bottom\(s\)"),
        (["a", "b"], [], r"it has 0 top\(s\), expected 1"),
        (["a", "b"], ["t", "u"], r"it has 2 top\(s\), expected 1"),
    ],
)
def test_a_wrong_number_of_bottoms_or_tops_is_refused(bottoms, tops, reason):
    spec = LayerSpec(type="Two", infer_shapes=same_shapes, convert=None, bottoms=(2, 3))

    with pytest.raises(LayerError, match=reason):
        spec.check_arity(LayerParameter(bottom=bottoms, top=tops))


def test_a_layer_may_have_a_top_per_bottom():
    spec = LayerSpec(
        type="Any", infer_shapes=same_shapes, convert=None, bottoms=(1, 9), tops=PER_BOTTOM
    )

    spec.check_arity(LayerParameter(bottom=["a", "b"], top=["c", "d"]))


def test_a_spec_has_no_blobs_unless_it_says_so():
    spec = LayerSpec(type="Plain", infer_shapes=same_shapes, convert=None)

    assert spec.blob_shapes is no_blobs
    assert no_blobs(LayerParameter(), [SHAPE]) == ()


def test_the_registry_knows_each_layer_by_its_own_type():
    assert {name: spec.type for name, spec in LAYER_SPECS.items()} == {n: n for n in LAYER_SPECS}


@pytest.mark.parametrize(
    "kind",
    ["BN", "Concat", "Convolution", "Dropout", "InnerProduct", "Pooling", "ReLU", "Softmax"],
)
def test_the_registry_has_every_layer_of_tsns_networks(kind):
    assert kind in LAYER_SPECS
