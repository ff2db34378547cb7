"""Silence: reads bottoms and writes nothing, so that they are not outputs of the net."""

from collections.abc import Sequence

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Shape
from tsnd_builder.layers.spec import LayerSpec


def infer_shapes(_parameters: LayerParameter, _bottoms: Sequence[Shape]) -> list[Shape]:
    """Say that there are no tops."""
    return []


SPEC = LayerSpec(
    type="Silence",
    infer_shapes=infer_shapes,
    convert=None,
    bottoms=(1, float("inf")),
    tops=(0, 0),
)
