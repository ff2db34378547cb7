"""What the builder knows about a layer type, and small helpers that layer files share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Array, Layer, Shape
from tsnd_builder.errors import BatchDependent, LayerError
from tsnd_builder.onnx_writer import NodeWriter

InferShapes = Callable[[LayerParameter, Sequence[Shape]], Sequence[Shape]]
Affine = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
Arity = tuple[int, float]
BlobShapes = Callable[[LayerParameter, Sequence[Shape]], Sequence[tuple[int, ...]]]

ANY_TOPS: Arity = (1, float("inf"))
PER_BOTTOM: Arity = (0, -1)
"""In place of an arity: as many tops as bottoms."""


def no_blobs(_parameters: LayerParameter, _bottoms: Sequence[Shape]) -> tuple[()]:
    """Say that a layer type has no weights."""
    return ()


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """All that the builder knows about one Caffe layer type.

    Attributes:
        type: Caffe's name of the type.
        infer_shapes: Settings and bottom shapes to top shapes; refuses what Caffe
            refuses and what cannot be converted, with a LayerError.
        convert: Writes the layer as ONNX nodes; None when it only passes its bottom on.
        blob_shapes: Settings and bottom shapes to the shapes of the weights.
        initial_blobs: The weights of a net without a weight file, where they are
            certain; None when such a layer needs its weights.
        scale_and_shift: A layer to float64 (scale, shift), [C] each, if it is
            y = scale * x + shift per channel (axis 1), so that it can be folded; else None.
        in_place: Whether Caffe may let it overwrite its bottom.
        shares_storage: Whether its tops are its bottom's memory under other names, so that
            overwriting one overwrites all.
        bottoms: Fewest and most bottoms.
        tops: Fewest and most tops, or PER_BOTTOM.
    """

    type: str
    infer_shapes: InferShapes
    convert: Callable[[Layer, NodeWriter], None] | None
    blob_shapes: BlobShapes = no_blobs
    initial_blobs: Callable[[LayerParameter, Sequence[Shape]], tuple[Array, ...]] | None = None
    scale_and_shift: Callable[[Layer], Affine | None] | None = None
    in_place: bool = False
    shares_storage: bool = False
    bottoms: Arity = (1, 1)
    tops: Arity = (1, 1)

    def check_arity(self, parameters: LayerParameter) -> None:
        """Refuse a layer with the wrong number of bottoms or tops.

        Raises:
            LayerError: When it has fewer or more than its type allows.
        """
        few, many = self.bottoms
        count = len(parameters.bottom)
        if not few <= count <= many:
            allowed = f"{few}" if few == many else f"at least {few}"
            raise LayerError(f"it has {count} bottom(s); a {self.type} takes {allowed}.")
        few, many = (count, count) if self.tops == PER_BOTTOM else self.tops
        tops = len(parameters.top)
        if not few <= tops <= many:
            allowed = f"{few}" if few == many else f"at least {few}"
            raise LayerError(f"it has {tops} top(s), expected {allowed}.")


def same_shapes(_parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Infer the shapes of a layer that works element by element."""
    return bottoms


def canonical_axis(axis: int, shape: Shape) -> int:
    """Turn an axis that may count from the end into one from 0.

    Raises:
        LayerError: When the shape has no such axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise LayerError(f"axis {axis} does not exist in a bottom of shape {list(shape)}.")
    return axis % len(shape)


def fixed_dims(shape: Shape, start: int) -> tuple[int, ...]:
    """Return the lengths from axis `start` on, all of which must be known.

    Raises:
        BatchDependent: When one of them depends on the batch size.
    """
    dims = []
    for dim in shape[start:]:
        if not isinstance(dim, int):
            raise BatchDependent(
                f"it mixes the batch axis of its bottom {list(shape)} with others."
            )
        dims.append(dim)
    return tuple(dims)


def fixed_size(shape: Shape, start: int) -> int:
    """Return the number of elements from axis `start` on; see `fixed_dims`."""
    return math.prod(fixed_dims(shape, start))
