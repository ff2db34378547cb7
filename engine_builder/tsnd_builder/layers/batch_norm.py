"""BN, the fork's own batch normalization: stored statistics, slope and bias in one layer.

Blobs, each [1, C]: slope, bias, mean, and the variance or, in files written between
2015-12-17 and 2016-04-27, the inverse standard deviation (the fork's CHANGELOG).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tsnd.caffe.net_pb2 import FillerParameter, LayerParameter
from tsnd_builder.caffe.graph import Array, Graph, Layer, Shape
from tsnd_builder.errors import LayerError, WeightsError
from tsnd_builder.layers.spec import LayerSpec, fixed_dims
from tsnd_builder.onnx_writer import NodeWriter

_FLOAT32_ROUNDING = 1e-6


class BNStorage(StrEnum):
    """What the fourth blob of a BN layer holds; nothing in the file says which."""

    VARIANCE = "variance"
    INVERSE_STD = "inverse-std"
    AUTO = "auto"


def infer_shapes(parameters: LayerParameter, bottoms: Sequence[Shape]) -> Sequence[Shape]:
    """Keep the shape; channels are axis 1."""
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise LayerError(f"its bottom has shape {list(bottom)}; BN needs a channel axis.")
    if not 0 < parameters.bn_param.eps < math.inf:
        raise LayerError(f"its eps is {parameters.bn_param.eps}; it must be positive.")
    return bottoms


def blob_shapes(_parameters: LayerParameter, bottoms: Sequence[Shape]) -> list[tuple[int, ...]]:
    """Slope, bias, mean and variance, each [1, C]."""
    channels = fixed_dims(bottoms[0][:2], 1)[0]
    return [(1, channels)] * 4


def initial_blobs(parameters: LayerParameter, bottoms: Sequence[Shape]) -> tuple[Array, ...]:
    """Return the state of a BN that was never trained (bn_layer.cpp, LayerSetUp).

    Slope and bias come from their fillers, the mean is 0, the variance is 1 if the layer
    is frozen and else 0.

    Raises:
        WeightsError: When a filler is random.
    """
    bn = parameters.bn_param
    (shape, *_) = blob_shapes(parameters, bottoms)
    return (
        np.full(shape, _constant(bn.slope_filler, "slope"), np.float32),
        np.full(shape, _constant(bn.bias_filler, "bias"), np.float32),
        np.zeros(shape, np.float32),
        np.full(shape, 1.0 if bn.frozen else 0.0, np.float32),
    )


def _constant(filler: FillerParameter, name: str) -> float:
    if filler.type != "constant":
        raise WeightsError(f"its {name} is filled at random ({filler.type!r}); give --weights.")
    return filler.value


def with_variances(graph: Graph, storage: BNStorage) -> Graph:
    """Return the graph with a float64 variance as the fourth blob of each BN layer.

    Raises:
        WeightsError: When a fourth blob cannot be what `storage` says.
    """
    if storage is BNStorage.AUTO:
        storage = certain_storage(graph)
    layers = (
        _with_variance(layer, storage, graph) if layer.type == "BN" else layer
        for layer in graph.layers
    )
    return replace(graph, layers=tuple(layers))


def certain_storage(graph: Graph) -> BNStorage:
    """Tell what the BN layers of a graph store, if their values leave no doubt.

    An inverse deviation (variance + eps) ** -0.5 is positive and at most eps ** -0.5. One
    value beyond that, in any layer, proves variances. Nothing proves the other: a variance
    may be any number that an inverse deviation may be.

    Raises:
        WeightsError: When both are possible; tells what follows from either.
    """
    layers = [layer for layer in graph.layers if layer.type == "BN"]
    if not layers or any(_holds_variances(layer) for layer in layers):
        return BNStorage.VARIANCE
    raise WeightsError(
        f"{graph.source}: the values of its {len(layers)} BN layers may be variances or inverse "
        "deviations, so --bn-storage auto cannot decide. Read the wrong way, the model converts "
        "and gives wrong scores. Use --bn-storage variance for files since 2016-04-27 (the "
        "Kinetics models, and files that bn_convert_style.py has converted), --bn-storage "
        "inverse-std for files from 2015-12-17 to then; if unsure, compare the scores of a "
        "labelled video."
    )


def _holds_variances(layer: Layer) -> bool:
    stored = layer.blobs[3].astype(np.float64)
    largest = layer.parameters.bn_param.eps**-0.5
    return bool(stored.min() <= 0 or stored.max() > largest * (1 + _FLOAT32_ROUNDING))


def _with_variance(layer: Layer, storage: BNStorage, graph: Graph) -> Layer:
    stored = layer.blobs[3].astype(np.float64)
    where = f"{graph.source}, layer {layer.name!r} (BN)"
    if storage is BNStorage.VARIANCE:
        # Rounding leaves converted files with variances just below 0; eps makes up for it.
        if stored.min() + layer.parameters.bn_param.eps <= 0:
            raise WeightsError(
                f"{where}: its stored variance has the value {stored.min():.3g}; a variance is "
                "not negative. The weights are damaged, or belong to another net."
            )
        variance = stored
    else:
        if stored.min() <= 0:
            raise WeightsError(
                f"{where}: its stored inverse deviation has the value {stored.min():.3g}; it must "
                "be positive. The file may hold variances: use --bn-storage variance."
            )
        variance = stored**-2.0 - layer.parameters.bn_param.eps
    return replace(layer, blobs=(*layer.blobs[:3], variance))


def scale_and_shift(layer: Layer) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a BN layer as y = scale * x + shift.

    Args:
        layer: A BN layer whose fourth blob is the variance.

    Returns:
        scale, shift: float64 [C] each; scale = slope / sqrt(variance + eps).
    """
    slope, bias, mean, variance = (blob.astype(np.float64).reshape(-1) for blob in layer.blobs)
    scale = slope / np.sqrt(variance + layer.parameters.bn_param.eps)
    return scale, bias - mean * scale


def convert_batch_norm(layer: Layer, writer: NodeWriter) -> None:
    """Write a BatchNormalization, whose formula is the same; its blobs have one axis."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    names = ["slope", "bias", "mean", "variance"]
    blobs = [
        writer.floats(f"{layer.name}.{name}", blob.reshape(-1))
        for name, blob in zip(names, layer.blobs, strict=True)
    ]
    writer.node(
        "BatchNormalization",
        [bottom.name, *blobs],
        top.name,
        name=layer.name,
        epsilon=layer.parameters.bn_param.eps,
    )


SPEC = LayerSpec(
    type="BN",
    infer_shapes=infer_shapes,
    blob_shapes=blob_shapes,
    initial_blobs=initial_blobs,
    convert=convert_batch_norm,
    scale_and_shift=scale_and_shift,
    in_place=True,
)
