"""Split: gives its bottom several names; Caffe writes it into the files that it saves."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Shape
from tsnd_builder.layers.spec import ANY_TOPS, LayerSpec


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[Shape]:
    """Give every top the bottom's shape."""
    return [bottoms[0]] * len(parameters.top)


SPEC = LayerSpec(
    type="Split", infer_shapes=infer_shapes, convert=None, tops=ANY_TOPS, shares_storage=True
)
