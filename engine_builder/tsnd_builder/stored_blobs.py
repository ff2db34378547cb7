"""Finds the weights of each layer in a caffemodel and checks them against its settings."""

from collections.abc import Callable, Sequence

import numpy as np

from tsnd.caffe.net_pb2 import LayerParameter
from tsnd_builder.caffe.graph import Array, Shape
from tsnd_builder.caffe.weights import Weights
from tsnd_builder.errors import WeightsError
from tsnd_builder.layers.spec import LayerSpec

BlobSource = Callable[[LayerSpec, LayerParameter, Sequence[Shape]], tuple[Array, ...]]
"""Gives a layer its weights, from its settings and the shapes of its bottoms."""


def stored_blobs(weights: Weights | None) -> BlobSource:
    """Return a source that finds the weights of each layer in a caffemodel by name.

    Args:
        weights: The caffemodel. Layers in it that the net does not have are ignored, as
            Caffe does. None for no file: then only layers whose untrained state is
            certain get weights.

    Returns:
        The source; it raises a WeightsError when blobs are missing, too many, of another
        shape or not finite.
    """

    def find(
        spec: LayerSpec, parameters: LayerParameter, bottoms: Sequence[Shape]
    ) -> tuple[Array, ...]:
        expected = list(spec.blob_shapes(parameters, bottoms))
        if not expected:
            return ()
        if weights is not None:
            return _stored(weights, parameters.name, expected)
        if spec.initial_blobs is None:
            raise WeightsError(f"it needs weights of shapes {_listed(expected)}; give --weights.")
        return spec.initial_blobs(parameters, bottoms)

    return find


def _stored(weights: Weights, layer: str, expected: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Find the blobs of one layer and check them against its settings."""
    found = weights.blobs.get(layer, ())
    if not found:
        raise WeightsError(
            f"{weights.path} has no weights for it; expected blobs of shapes {_listed(expected)}. "
            "Weights are matched by layer name: are these the weights of this prototxt?"
        )
    if len(found) != len(expected) or not all(
        blob.fits(shape) for blob, shape in zip(found, expected, strict=True)
    ):
        raise WeightsError(
            f"{weights.path} has blobs of shapes {_listed([blob.shape for blob in found])} for it, "
            f"its settings ask for {_listed(expected)}. Use the prototxt that these weights were "
            "trained with."
        )
    for index, blob in enumerate(found):
        if not np.isfinite(blob.data).all():
            raise WeightsError(
                f"{weights.path} has a value that is not finite in its blob {index}; the file is "
                "damaged or the training diverged."
            )
    return tuple(blob.data.reshape(shape) for blob, shape in zip(found, expected, strict=True))


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
